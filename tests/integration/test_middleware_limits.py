"""Beside every stock middleware of LangChain at limits that are reached, alone and in pairs, on the strict server.

The server refuses what the API refuses: a call without a result, a result without its call, two results for one call.
"""

from __future__ import annotations

import asyncio
from itertools import combinations
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
)
from langchain_anthropic import ChatAnthropic
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import MessagesApiServer, ScriptedChatModel
from support.agents import config, said
from support.graphs import assert_every_call_is_answered
from support.keywords import KeywordReader, keyword_watch
from support.wire import MODEL, end

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
SEARCH = {"type": "tool_use", "name": "search", "input": {"query": "me@example.org"}}
TURNS = ["!both", "hello", "!ask", "idiot !ask", "!both and !ask", "bye"]
"""``!ask``: the model asks for the end twice in a row; ``!both``: it asks beside another call."""


class Picking(ScriptedChatModel):
    """Selects no tool at all."""

    def with_structured_output(self, schema: Any, **_: Any) -> Any:  # noqa: ARG002 - the name is LangChain's
        return RunnableLambda(lambda _: {"tools": []})


STOCK: dict[str, Any] = {
    "model calls": lambda: ModelCallLimitMiddleware(run_limit=2),
    "model calls of the thread": lambda: ModelCallLimitMiddleware(thread_limit=5),
    "tool calls": lambda: ToolCallLimitMiddleware(run_limit=1),
    "calls of ours": lambda: ToolCallLimitMiddleware(tool_name="end_conversation", run_limit=1),
    "calls of ours in the thread": lambda: ToolCallLimitMiddleware(tool_name="end_conversation", thread_limit=2),
    "review of ours": lambda: HumanInTheLoopMiddleware(interrupt_on={"end_conversation": True}),
    "review of others": lambda: HumanInTheLoopMiddleware(interrupt_on={"search": True}),
    "summarization": lambda: SummarizationMiddleware(
        model=ScriptedChatModel(lambda _: "a summary"), trigger=("messages", 6), keep=("messages", 3)
    ),
    "context editing": lambda: ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=1, keep=0)]),
    "pii": lambda: PIIMiddleware("email", apply_to_output=True, apply_to_tool_results=True),
    "todo": TodoListMiddleware,
    "model retry": lambda: ModelRetryMiddleware(max_retries=1, initial_delay=0.0),
    "tool retry": lambda: ToolRetryMiddleware(max_retries=1, initial_delay=0.0),
    "fallback": lambda: ModelFallbackMiddleware(ScriptedChatModel(lambda _: "from the fallback")),
    "selector": lambda: LLMToolSelectorMiddleware(
        model=Picking(replies=[]), always_include=["end_conversation", "search"]
    ),
}


def reply(body: dict[str, Any]) -> Any:
    """Answer as the newest words of the user say."""
    messages = body["messages"]
    place = max(at for at, message in enumerate(messages) if message["role"] == "user" and words_of(message))
    words, asked = words_of(messages[place]), sum(calls_in(message) for message in messages[place:])
    if "!both" in words and not asked:
        return [end(), SEARCH]
    if "!ask" in words and asked < 2:
        return [end()]
    return "I will not. Try this instead."


def words_of(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def calls_in(message: dict[str, Any]) -> bool:
    content = message["content"]
    return (
        message["role"] == "assistant"
        and not isinstance(content, str)
        and any(part["type"] == "tool_use" for part in content)
    )


@tool
def search(query: str) -> str:
    """Search."""
    return f"found {query}"


class Chat:
    """An agent on the strict server; a reviewer answers every question with ``decision``."""

    def __init__(
        self, server: MessagesApiServer, before: Any, after: Any, *, asynchronous: bool, decision: Any
    ) -> None:
        self.registry, self.asynchronous, self.decision = InMemorySealRegistry(), asynchronous, decision
        model = ChatAnthropic(model=MODEL, base_url=server.base_url, api_key="test", max_retries=0)
        guard = EndConversationMiddleware(registry=self.registry, reader=KeywordReader(), watch=keyword_watch())
        saver = SealedSaver(InMemorySaver(), self.registry)
        self.graph: Any = create_agent(model, [search], middleware=[*before, guard, *after], checkpointer=saver)

    def invoke(self, given: Any) -> Any:
        if self.asynchronous:
            return asyncio.run(self.graph.ainvoke(given, config()))
        return self.graph.invoke(given, config())

    def say(self, text: str) -> Any:
        result = self.invoke(said(text))
        while "__interrupt__" in result:
            (asked,) = result["__interrupt__"]
            decisions = [self.decision] * len(asked.value["action_requests"])
            result = self.invoke(Command(resume={"decisions": decisions}))
        return result


REJECT, APPROVE = {"type": "reject"}, {"type": "approve"}


def check(*names: str, place: str, asynchronous: bool = False, decision: Any = REJECT) -> None:
    """Go through all turns, and check each request and the thread itself."""
    others = [STOCK[name]() for name in names]
    with MessagesApiServer(reply) as server:
        before, after = (others, []) if place == "before" else ([], others)
        chat = Chat(server, before, after, asynchronous=asynchronous, decision=decision)
        for text in TURNS:
            result = chat.say(text)
            assert result["messages"][-1].type == "ai"
        assert server.errors == []
        assert server.requests
    cut_off = "model calls of the thread" in names  # nothing of ours runs any more, and the model is asked nothing
    if not cut_off and "context editing" not in names:
        assert_every_call_is_answered(result["messages"])
    assert not chat.registry.status("t").sealed
    assert chat.registry.decisions("t") != ()


@pytest.mark.parametrize("name", STOCK)
@pytest.mark.parametrize("place", ["before", "after"])
@both
def test_alone(name: str, place: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    check(name, place=place, asynchronous=asynchronous)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("decision", [REJECT, APPROVE], ids=["reject", "approve"])
@both
def test_a_reviewer_of_our_calls(decision: Any, place: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    check("review of ours", place=place, asynchronous=asynchronous, decision=decision)


PAIRS = [pair for pair in combinations(STOCK, 2) if len({STOCK[name]().name for name in pair}) == len(pair)]
"""LangChain itself refuses two of one name."""


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_in_pairs(one: str, other: str) -> None:
    check(one, other, place="after")
