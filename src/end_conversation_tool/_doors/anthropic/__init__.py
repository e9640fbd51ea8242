"""The inside of the door for loops over the raw Anthropic SDK."""
