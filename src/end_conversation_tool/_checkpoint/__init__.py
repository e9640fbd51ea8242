"""The guard on the checkpointer: no write enters a sealed thread."""
