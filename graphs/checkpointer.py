"""The checkpointer of the LangGraph server, guarded: every write to a sealed thread is refused."""

from __future__ import annotations

from end_conversation_tool.server_storage import checkpointer_from_environment as checkpointer

__all__ = ["checkpointer"]
