"""A guarded hand-written graph: Claude with ``ANTHROPIC_API_KEY``, and without it a scripted model.

A user who asks for the end confirms it by an interrupt: resume the run with ``"yes"`` or ``"no"``.
"""

from __future__ import annotations

import os
from typing import Any

from langchain.chat_models import BaseChatModel, init_chat_model
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from end_conversation_tool import create_end_conversation_tool
from end_conversation_tool._core.prompts import PROMPT_SECTION
from end_conversation_tool.graph_parts import EndConversationChannels, add_end_conversation
from end_conversation_tool.middleware import hide_private_state
from end_conversation_tool.readers import ModelReader, OfflineReader, Reader
from end_conversation_tool.server_storage import registry_from_environment
from end_conversation_tool.testing.personas import reactive_model


class State(MessagesState, EndConversationChannels):
    """The messages, and what the guard keeps."""


def _speaker() -> tuple[BaseChatModel, Reader]:
    """Return the model, and who reads when it asks for the end."""
    if os.environ.get("ANTHROPIC_API_KEY"):
        claude = init_chat_model("anthropic:claude-opus-5-5")
        return claude, ModelReader(claude)
    return reactive_model(), OfflineReader()


tools = [create_end_conversation_tool()]
speaker, reader = _speaker()
model = speaker.bind_tools(tools)


async def call_model(state: State) -> dict[str, Any]:
    """Let the model speak."""
    return {"messages": [await model.ainvoke([("system", PROMPT_SECTION), *state["messages"]])]}


builder = StateGraph(State)
builder.add_node("model", call_model)
builder.add_node("tools", ToolNode(tools))
builder.add_edge(START, "model")
builder.add_conditional_edges("model", tools_condition)
builder.add_edge("tools", "model")
add_end_conversation(builder, registry=registry_from_environment(), reader=reader, confirm="interrupt")
graph = hide_private_state(builder.compile())
