"""What a model is told by us, and no user is to read: kept out of the stream of messages.

LangGraph shows in ``stream_mode="messages"`` every message that a node returns, but for those that it has shown before
or that the node was given. It offers nothing else by which a single message could be left out, so ours are noted as
shown. They stand in the state, and in every other stream, as they are.
"""

from __future__ import annotations

from collections.abc import Iterable

from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config

__all__ = ["keep_unseen"]


def keep_unseen(messages: Iterable[BaseMessage], config: RunnableConfig | None = None) -> None:
    """Keep the tool results among ``messages`` out of the messages that users see streamed.

    To be called in the node that returns them, before it does.

    Args:
        messages: What the node adds to the thread.
        config: The node's; ``None`` for that of the present node.
    """
    ids = {message.id for message in messages if isinstance(message, ToolMessage) and message.id}
    callbacks = (get_config() if config is None else config).get("callbacks")
    for handler in getattr(callbacks, "handlers", None) or ():
        shown = getattr(handler, "seen", None)
        if isinstance(shown, set):
            shown |= ids
