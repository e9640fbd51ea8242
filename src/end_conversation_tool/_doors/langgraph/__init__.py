"""What the LangGraph doors share: messages, run context, nodes."""
