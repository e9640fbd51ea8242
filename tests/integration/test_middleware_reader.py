"""The default reader: the agent's own model, asked once by a side call that no user sees."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.records import Category, Outcome, UnmetCode
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import ScriptedChatModel
from support.agents import INSULT, REFUSE, Agent, ReadingChatModel, config, ending, said

HARD = [REFUSE, REFUSE, REFUSE]
MODES = ["values", "updates", "messages", "custom", "debug", "tasks", "checkpoints"]
both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def reading_agent(*replies: Any, **options: Any) -> Agent:
    """Return an agent on the default reader, with the default policy."""
    return Agent(ReadingChatModel(replies=replies), reader=None, policy=None, **options)


@both
def test_three_lines_of_set_up(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    """What a newcomer writes: a registry, the middleware, a guarded checkpointer; the package's own watch listens."""
    model = ReadingChatModel(replies=[*HARD, ending(), ending()])
    registry = InMemorySealRegistry()
    guard = EndConversationMiddleware(registry=registry)
    agent: Any = create_agent(model, middleware=[guard], checkpointer=SealedSaver(InMemorySaver(), registry))
    for _ in range(5):
        given: Any = said(INSULT)
        result = asyncio.run(agent.ainvoke(given, config())) if asynchronous else agent.invoke(given, config())
    assert result["conversation_end"]["ended"]
    assert [record.outcome for record in registry.decisions("t")] == [Outcome.NOTICED, Outcome.SEALED]
    reading = registry.decisions("t")[-1].reading
    assert reading is not None
    assert reading.source.startswith("model:scripted/")
    assert (reading.input_tokens, reading.output_tokens) == (100, 10)


class Heard(BaseCallbackHandler):
    """Remembers which models were started, by what tags."""

    def __init__(self) -> None:
        self.tags: list[list[str]] = []

    def on_chat_model_start(self, *_: Any, tags: list[str] | None = None, **__: Any) -> None:
        self.tags.append(tags or [])


@both
def test_the_side_call_keeps_callbacks_and_usage(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = reading_agent(*HARD, ending(), asynchronous=asynchronous).climb()
    heard, usage = Heard(), UsageMetadataCallbackHandler()
    agent.invoke(said(INSULT), {**config(), "callbacks": [heard, usage]})
    assert [("nostream" in tags) for tags in heard.tags] == [False, True]
    assert usage.usage_metadata["scripted-reading"]["total_tokens"] == 110


def streamed(agent: Agent, mode: Any) -> list[Any]:
    async def stream() -> list[Any]:
        return [chunk async for chunk in agent.graph.astream(said(INSULT), config(), stream_mode=mode)]

    if agent.asynchronous:
        return asyncio.run(stream())
    return list(agent.graph.stream(said(INSULT), config(), stream_mode=mode))


@pytest.mark.parametrize("mode", MODES)
@both
def test_the_side_call_shows_in_no_stream(mode: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = reading_agent(*HARD, ending(), asynchronous=asynchronous).climb()
    chunks = streamed(agent, mode)
    assert agent.state()["messages"][-1].text == Texts().notice(Category.ABUSE)  # somebody has read
    shown = str(chunks)
    assert "findings" not in shown
    assert '"quote"' not in shown
    assert "scripted-reading" not in shown


@both
def test_it_reads_with_the_model_of_this_very_call(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    """A dynamic model that is chosen outside of the middleware is the one that reads."""
    from langchain.agents.middleware import AgentMiddleware  # noqa: PLC0415

    chosen = ReadingChatModel(replies=[*HARD, ending()], model_name="chosen")

    class Choosing(AgentMiddleware[Any, Any, Any]):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            return handler(request.override(model=chosen))

        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            return await handler(request.override(model=chosen))

    agent = Agent([], reader=None, policy=None, before=[Choosing()], asynchronous=asynchronous).climb()
    agent.say(INSULT)
    (record,) = agent.registry.decisions("t")
    assert record.outcome is Outcome.NOTICED
    assert record.reading is not None
    assert record.reading.source.startswith("model:chosen/")
    assert record.model == "chosen"


@both
def test_a_model_that_cannot_read_is_denied_and_warned_of_once(
    asynchronous: bool,  # noqa: FBT001 - both ways
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Mute(ScriptedChatModel):
        def with_structured_output(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    model = Mute(replies=[*HARD, ending(), "on we go", ending(), "and on"], model_name=f"mute-{asynchronous}")
    agent = Agent(model, reader=None, policy=None, asynchronous=asynchronous).climb()
    caplog.set_level(logging.WARNING)
    assert agent.say(INSULT)["messages"][-1].text == "on we go"
    assert agent.say(INSULT)["messages"][-1].text == "and on"
    for record in agent.registry.decisions("t"):
        assert record.decision.unmet == (UnmetCode.MODEL_CANNOT_READ,)
    warned = [entry.getMessage() for entry in caplog.records if "read" in entry.getMessage()]
    assert len(warned) == 1
    assert "reader=" in warned[0]


@both
def test_a_reader_that_fails_denies_and_the_chat_goes_on(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    class Failing(ReadingChatModel):
        def with_structured_output(self, schema: Any, **_: Any) -> Any:  # noqa: ARG002 - the name is LangChain's
            def fail(_: Any) -> Any:
                raise ConnectionError("no network")

            return ScriptedChatModel(fail)

    agent = Agent(
        Failing(replies=[*HARD, ending(), "on we go"]), reader=None, policy=None, asynchronous=asynchronous
    ).climb()
    assert agent.say(INSULT)["messages"][-1].text == "on we go"
    assert agent.registry.decisions("t")[0].decision.unmet == (UnmetCode.READING_FAILED,)
