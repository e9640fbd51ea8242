"""A guarded ``create_agent`` graph: Claude with ``ANTHROPIC_API_KEY``, and without it a scripted model.

The scripted model hears insults, signs of distress, and requests to end the chat; nothing else.
"""

from __future__ import annotations

import os

from langchain.agents import create_agent
from langchain.chat_models import BaseChatModel, init_chat_model

from end_conversation_tool.middleware import EndConversationMiddleware, hide_private_state
from end_conversation_tool.readers import OfflineReader, Reader
from end_conversation_tool.server_storage import registry_from_environment
from end_conversation_tool.testing.personas import reactive_model


def _speaker() -> tuple[BaseChatModel, Reader | None]:
    """Return the model, and who reads when it asks for the end; ``None`` for the model itself."""
    if os.environ.get("ANTHROPIC_API_KEY"):
        return init_chat_model("anthropic:claude-opus-5-5"), None
    return reactive_model(), OfflineReader()


model, reader = _speaker()
agent = hide_private_state(
    create_agent(
        model,
        system_prompt="You are a helpful assistant.",
        middleware=[EndConversationMiddleware(registry=registry_from_environment(), reader=reader)],
    )
)
