"""Beside every stock middleware of LangChain at limits that are reached, alone and in pairs, on the strict server.

The server refuses what the API refuses: a call without a result, a result without its call, two results for one call.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest
from langchain.agents import create_agent, middleware
from langchain.agents.middleware import (
    AgentMiddleware,
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    FilesystemFileSearchMiddleware,
    HumanInTheLoopMiddleware,
    LLMToolEmulator,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    ShellToolMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolErrorMiddleware,
    ToolRetryMiddleware,
)
from langchain_anthropic import ChatAnthropic
from langchain_core._api import LangChainBetaWarning
from langchain_core.exceptions import LangChainException
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import ErrorReply, MessageReply, MessagesApiServer, ScriptedChatModel, end_call
from support.agents import config, said
from support.graphs import assert_every_call_is_answered
from support.keywords import KeywordReader, keyword_watch
from support.wire import MODEL, end

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
SEARCH = {"type": "tool_use", "name": "search", "input": {"query": "me@example.org"}}
TURNS = ["!both", "hello", "!ask", "idiot !ask", "!both and !ask", "bye"]
"""``!ask``: the model asks for the end twice in a row; ``!both``: it asks beside another call."""
MORE_TURNS = {
    "model retry": "!down",
    "fallback": "!down",
    "tool retry": "!fail",
    "tool errors": "!fail",
    "refusals": "!refuse",
}
"""What it takes to reach the limit of some: the API is overloaded, a tool fails, the provider refuses."""


class Picking(ScriptedChatModel):
    """Selects no tool at all."""

    def with_structured_output(self, schema: Any, **_: Any) -> Any:  # noqa: ARG002 - the name is LangChain's
        return RunnableLambda(lambda _: {"tools": []})


def deciding(answers: Callable[[Any], dict[str, Any]]) -> Any:
    """Return a decision model that answers as a function of what it is shown says."""
    from langchain_core.decisions import BaseDecisionModel, ClassifierResponse  # noqa: PLC0415 - not in the oldest

    class Deciding(BaseDecisionModel):
        model: str = "scripted"

        @property
        def _provider(self) -> str:
            return "scripted"

        def _classify(self, state: Any, questions: Any) -> Any:  # noqa: ARG002 - the names are LangChain's
            return ClassifierResponse.model_validate({"model": self.model, "answers": answers(state)})

    return Deciding()


def routed() -> Any:
    """Return LangChain's router, which hands all but greetings to another model: one that asks for the end."""

    def route(message: Any) -> dict[str, Any]:
        chosen = "small" if message.text == "hello" else "large"
        return {"model_route": {"type": "choice", "choice": chosen, "probabilities": {chosen: 1.0}, "confidence": 1.0}}

    models = {
        "small": ScriptedChatModel(lambda _: "from the router"),
        "large": ScriptedChatModel(lambda messages: end_call() if messages[-1].type == "human" else "on we go"),
    }
    return middleware.ModelRouterMiddleware(
        choices={name: middleware.ModelChoice(model=model, criteria=name) for name, model in models.items()},
        instructions="Choose.",
        classifier=deciding(route),
    )


class Fallback(ScriptedChatModel):
    """Of a provider that LangChain's tool search knows."""

    def _get_ls_params(self, *args: Any, **kwargs: Any) -> Any:
        return {**super()._get_ls_params(*args, **kwargs), "ls_provider": "anthropic"}


STOCK: dict[str, Callable[[], Any]] = {
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
    "fallback": lambda: ModelFallbackMiddleware(Fallback(replies=lambda _: "from the fallback")),
    "selector": lambda: LLMToolSelectorMiddleware(
        model=Picking(replies=[]), always_include=["end_conversation", "search"]
    ),
    "emulator": lambda: LLMToolEmulator(model=ScriptedChatModel(lambda _: "emulated")),
    "files": lambda: FilesystemFileSearchMiddleware(root_path=str(Path(__file__).parent), use_ripgrep=False),
    "shell": ShellToolMiddleware,
    "tool errors": lambda: ToolErrorMiddleware(on_error=lambda error, _: type(error).__name__),
    "tool search": lambda: middleware.ProviderToolSearchMiddleware(searchable_tools=["search"]),
    "refusals": lambda: middleware.ModelRefusalMiddleware(),  # noqa: PLW0108 - not in the oldest
    "auto mode": lambda: middleware.AutoModeMiddleware(
        tools=["search", "end_conversation"], classifier=deciding(lambda _: {"is_risky": {"type": "noul", "noul": 1.0}})
    ),
    "router": routed,
}
NEWER = {
    "tool search": "ProviderToolSearchMiddleware",
    "refusals": "ModelRefusalMiddleware",
    "auto mode": "AutoModeMiddleware",
    "router": "ModelRouterMiddleware",
}
"""Those that the oldest LangChain of ours has not."""
STOCK = {name: make for name, make in STOCK.items() if hasattr(middleware, NEWER.get(name, "AgentMiddleware"))}


def made(name: str) -> Any:
    """Make one of them; some of LangChain's are in beta, and say so."""
    with catch_warnings():
        simplefilter("ignore", LangChainBetaWarning)
        return STOCK[name]()


def test_no_stock_middleware_is_left_out() -> None:
    exported = {getattr(middleware, name) for name in middleware.__all__}
    classes = {one for one in exported if isinstance(one, type) and issubclass(one, AgentMiddleware)}
    assert {type(made(name)) for name in STOCK} == classes - {AgentMiddleware}


def reply(body: dict[str, Any]) -> Any:
    """Answer as the newest words of the user say."""
    messages = body["messages"]
    place = max(at for at, message in enumerate(messages) if message["role"] == "user" and words_of(message))
    words, asked = words_of(messages[place]), sum(calls_in(message) for message in messages[place:])
    if "!down" in words:
        return ErrorReply()
    if "!refuse" in words:
        return MessageReply("I cannot.", stop_reason="refusal")
    if "!both" in words and not asked:
        return [end(), SEARCH]
    if "!fail" in words and not asked:
        return [{**SEARCH, "input": {"query": "fail"}}]
    if "!ask" in words and asked < 2:
        return [end()]
    return "I will not. Try this instead."


def words_of(message: dict[str, Any]) -> str:
    """Return the last words: what stands before them is from a turn that came to nothing."""
    content = message["content"]
    return content if isinstance(content, str) else str(content[-1].get("text", ""))


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
    if query == "fail":
        raise ConnectionError("no network")
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
    others = [made(name) for name in names]
    with MessagesApiServer(reply) as server:
        before, after = (others, []) if place == "before" else ([], others)
        chat = Chat(server, before, after, asynchronous=asynchronous, decision=decision)
        for text in [*dict.fromkeys(MORE_TURNS[name] for name in names if name in MORE_TURNS), *TURNS]:
            try:
                result = chat.say(text)
            except LangChainException as error:
                assert (type(error).__name__, text) == ("ModelRefusalError", "!refuse")  # noqa: PT017 - of one kind
            else:
                assert result["messages"][-1].type == "ai"
        assert server.errors == []
        assert server.requests or "router" in names
    cut_off = "model calls of the thread" in names  # nothing of ours runs any more, and the model is asked nothing
    if not cut_off and "context editing" not in names:
        assert_every_call_is_answered(result["messages"])
    assert not chat.registry.status("t").sealed
    assert chat.registry.decisions("t") != ()
    if "shell" in names:
        del chat, others, before, after
        gc.collect()


def named(*names: str) -> Any:
    """Return parameters of a test; LangChain's shell leaves its pipes to the garbage collector."""
    leaky = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    return pytest.param(*names, marks=[leaky] if "shell" in names else [])


@pytest.mark.parametrize("name", [named(name) for name in STOCK])
@pytest.mark.parametrize("place", ["before", "after"])
@both
def test_alone(name: str, place: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    check(name, place=place, asynchronous=asynchronous)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("decision", [REJECT, APPROVE], ids=["reject", "approve"])
@both
def test_a_reviewer_of_our_calls(decision: Any, place: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    check("review of ours", place=place, asynchronous=asynchronous, decision=decision)


NAMES = {name: made(name).name for name in STOCK}
PAIRS = [named(one, other) for one, other in combinations(STOCK, 2) if NAMES[one] != NAMES[other]]
"""LangChain itself refuses two of one name."""


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_in_pairs(one: str, other: str) -> None:
    check(one, other, place="after")
