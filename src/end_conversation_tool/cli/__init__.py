"""The command ``end-conversation``."""

from end_conversation_tool.cli.app import app, main

__all__ = ["app", "main"]
