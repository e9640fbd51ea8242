"""Agents of ``create_agent`` for tests: a scripted model, a counting tool, and the whole ladder of an ending."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from end_conversation_tool._core.reading import Line, ReadingCase
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.registry.protocol import SealRegistry
from end_conversation_tool.testing import ScriptedChatModel, end_call, in_one_message, tool_call
from support.keywords import QUICK, KeywordReader, keyword_watch

REFUSE = "I will not do that. Try this instead."
WARN = "I will not do that. Try this instead, or I may end this chat."
INSULT = "you idiot"
LADDER = [REFUSE, REFUSE, WARN]
"""What the model says to the first three insults; a fourth insult makes an end possible, by the policy QUICK."""


def config(thread_id: str = "t", **more: Any) -> Any:
    return {"configurable": {"thread_id": thread_id, **more}}


def said(*texts: str) -> dict[str, Any]:
    """Return one input of several user messages."""
    return {"messages": [HumanMessage(text) for text in texts]}


class Counter:
    """A tool that counts how often it ran."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    def tool(self) -> BaseTool:
        runs = self.runs

        @tool
        def search(query: str) -> str:
            """Search."""
            runs.append(query)
            return f"found {query}"

        return search


def search_call(query: str = "q", call_id: str = "s") -> AIMessage:
    return tool_call("search", {"query": query}, call_id=call_id)


def ending(text: str = "I will not.", category: str = "abuse", call_id: str = "e") -> AIMessage:
    return end_call(category, text=text, call_id=call_id)


def ending_and_search() -> AIMessage:
    return in_one_message(ending(call_id="e2"), search_call())


class Agent:
    """An agent with the middleware, driven sync or async by the same test."""

    def __init__(
        self,
        replies: Any,
        *,
        registry: SealRegistry | None = None,
        asynchronous: bool = False,
        guarded: bool = True,
        before: Sequence[Any] = (),
        after: Sequence[Any] = (),
        checkpointer: Any = None,
        create: dict[str, Any] | None = None,
        tools: Sequence[BaseTool] = (),
        **options: Any,
    ) -> None:
        self.registry = registry if registry is not None else InMemorySealRegistry()
        self.model = replies if isinstance(replies, ScriptedChatModel) else ScriptedChatModel(replies)
        self.counter = Counter()
        self.asynchronous = asynchronous
        self.saver = (
            InMemorySaver(serde=JsonPlusSerializer(pickle_fallback=False)) if checkpointer is None else checkpointer
        )
        self.reader = options.setdefault("reader", KeywordReader())
        options.setdefault("watch", keyword_watch())
        options.setdefault("policy", QUICK)
        ours = [EndConversationMiddleware(registry=self.registry, **options)] if guarded else []
        self.graph: Any = create_agent(
            self.model,
            [self.counter.tool(), *tools],
            middleware=[*before, *ours, *after],
            checkpointer=self.saver or None,
            **(create or {}),
        )

    def invoke(self, given: Any, where: Any = None, **kwargs: Any) -> Any:
        where = config() if where is None else where
        if self.asynchronous:
            return asyncio.run(self.graph.ainvoke(given, where, **kwargs))
        return self.graph.invoke(given, where, **kwargs)

    def say(self, *texts: str, **kwargs: Any) -> Any:
        return self.invoke(said(*texts), **kwargs)

    def climb(self, **kwargs: Any) -> Agent:
        """Let the user insult, and the model go up the ladder; one more insult makes an end possible."""
        for _ in LADDER:
            self.say(INSULT, **kwargs)
        return self

    def state(self, where: Any = None) -> dict[str, Any]:
        return dict(self.graph.get_state(where or config()).values)

    def checkpoints(self, where: Any = None) -> int:
        return len(list(self.graph.get_state_history(where or config())))


def kinds(messages: Sequence[Any]) -> list[str]:
    return [message.type for message in messages]


@asynccontextmanager
async def sqlite_saver(path: Any) -> AsyncIterator[Any]:
    """Open LangGraph's async SQLite saver, and close it in the same event loop."""
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415

    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        yield saver


class ReadingChatModel(ScriptedChatModel):
    """A scripted model that can read too: asked for structured output, it finds the keywords; with usage and tokens."""

    def with_structured_output(self, schema: Any, *, include_raw: bool = False, **_: Any) -> Any:
        assert include_raw

        def parsed(message: Any) -> dict[str, Any]:
            return {"raw": message, "parsed": schema.model_validate_json(message.text), "parsing_error": None}

        return ScriptedChatModel(_report_on, model_name=f"{self.model_name}-reading") | RunnableLambda(parsed)


def report_on(question: str) -> dict[str, Any]:
    """Return what a model that reads by keywords reports; the rows of the transcript stand in the question."""
    rows = [json.loads(row) for row in question.splitlines() if row.startswith('{"label"')]
    case = ReadingCase(tuple(Line(row["label"], row["role"], row["text"], row["label"], 0) for row in rows))
    reading = KeywordReader().read(case)
    found = [{"kind": str(one.kind), "label": one.label, "quote": one.quote} for one in reading.findings]
    return {"findings": found, "risk": str(reading.risk)}


def _report_on(messages: Sequence[Any]) -> AIMessage:
    usage = UsageMetadata(input_tokens=100, output_tokens=10, total_tokens=110)
    return AIMessage(json.dumps(report_on(str(messages[-1].content))), usage_metadata=usage)
