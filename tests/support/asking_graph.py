"""A served graph whose user confirms an end in a dialogue: the model asks for it at once, the app asks the user."""

from __future__ import annotations

from collections.abc import Sequence

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage

from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.server_storage import registry_from_environment
from end_conversation_tool.testing import ScriptedChatModel, end_call
from support.keywords import KeywordReader, keyword_watch


def _reply(messages: Sequence[BaseMessage]) -> str | AIMessage:
    if messages[-1].type == "human" and "end this chat" in messages[-1].text:
        return end_call("user_request", "The user asked for it.")
    return "I am still here."


agent = create_agent(
    ScriptedChatModel(_reply),
    middleware=[
        EndConversationMiddleware(
            registry=registry_from_environment(), reader=KeywordReader(), watch=keyword_watch(), confirm="interrupt"
        )
    ],
)
