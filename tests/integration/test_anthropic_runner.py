"""The SDK's tool runner, guarded, on the real wire: with threads of the server, as is its default, and without."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic import beta_async_tool, beta_tool

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Category, Outcome, UnmetCode
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.anthropic_sdk import TurnOutcome
from end_conversation_tool.errors import InvalidInputError, ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import MessageReply, MessagesApiServer
from support.records import permit
from support.wire import ABUSE, LADDER, MODEL, called, end, guard_of

ran: list[str] = []


@beta_tool
def lookup(key: str) -> str:
    """Look something up."""
    ran.append(key)
    return "42"


@beta_async_tool(name="lookup")
async def alookup(key: str) -> str:
    """Look something up."""
    ran.append(key)
    return "42"


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()


class Loop:
    """One conversation through the sync or the async runner, streamed or not, threaded or not."""

    def __init__(
        self, server: MessagesApiServer, *, twin: bool, streamed: bool, threaded: bool, **options: Any
    ) -> None:
        self.server, self.twin = server, twin
        self.registry = InMemorySealRegistry()
        self.guard = guard_of(self.registry, **options)
        self.messages: list[Any] = []
        self.params: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "system": "Be kind."}
        if streamed:
            self.params["stream"] = True
        if not threaded:
            self.params["thread"] = False

    async def turn(self, text: str) -> TurnOutcome:
        self.messages.append({"role": "user", "content": text})
        chat = self.guard.conversation("c")
        if not self.twin:
            with anthropic.Anthropic(base_url=self.server.base_url, api_key="test", max_retries=0) as client:
                runner = chat.tool_runner(client, messages=self.messages, tools=[lookup], **self.params)
                return runner.until_done()
        async with anthropic.AsyncAnthropic(base_url=self.server.base_url, api_key="test", max_retries=0) as aclient:
            arunner = chat.atool_runner(aclient, messages=self.messages, tools=[alookup], **self.params)
            return await arunner.until_done()


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def twin(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streamed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=[False, True], ids=["stateless", "threaded"])
def threaded(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def result_of(message: Any) -> list[Any]:
    return [(block["content"], bool(block.get("is_error"))) for block in message["content"]]


async def test_a_whole_ending(twin: bool, streamed: bool, threaded: bool) -> None:  # noqa: FBT001
    script: list[Any] = [*LADDER, [end(), called("lookup", key="x")]]
    with MessagesApiServer(script, strict_prefix=True) as server:
        loop = Loop(server, twin=twin, streamed=streamed, threaded=threaded)
        for text in ABUSE:
            outcome = await loop.turn(text)
        assert server.errors == []
        assert outcome.ended
        assert outcome.statement
        assert ran == []
        with pytest.raises(ThreadSealedError):
            await loop.turn("hello?")
        assert len(server.requests) == len(script)
    assert [record.outcome for record in loop.registry.decisions("c")] == [Outcome.SEALED]
    results, closing, _refused = loop.messages[-3:]
    assert len(result_of(results)) == 2
    assert closing == {"role": "assistant", "content": outcome.statement}


async def test_notice_first_and_the_end_at_the_second_request(twin: bool, streamed: bool, threaded: bool) -> None:  # noqa: FBT001
    script: list[Any] = [*LADDER, [end(), called("lookup", key="x")], "Never mind.", [end()]]
    with MessagesApiServer(script, strict_prefix=True) as server:
        loop = Loop(server, twin=twin, streamed=streamed, threaded=threaded, policy=EndConversationPolicy())
        for text in ABUSE:
            noticed = await loop.turn(text)
        assert (noticed.ended, noticed.again, noticed.closing) == (False, False, Texts().notice(Category.ABUSE))
        assert loop.messages[-1] == {"role": "assistant", "content": noticed.closing}
        assert len(result_of(loop.messages[-2])) == 2
        assert ran == []
        assert not (await loop.turn("sorry")).closing
        outcome = await loop.turn(ABUSE[0])
        assert outcome.ended
        assert server.errors == []
        assert len(server.requests) == len(script)
    assert loop.messages[-1] == {"role": "assistant", "content": outcome.statement}
    assert [record.outcome for record in loop.registry.decisions("c")] == [Outcome.NOTICED, Outcome.SEALED]


async def test_a_denied_end_goes_on_and_its_siblings_run(twin: bool, streamed: bool, threaded: bool) -> None:  # noqa: FBT001
    script: list[Any] = [[end(), called("lookup", key="x")], "It is 42.", "Bye."]
    with MessagesApiServer(script, strict_prefix=True) as server:
        loop = Loop(server, twin=twin, streamed=streamed, threaded=threaded)
        assert not (await loop.turn("what is it?")).ended
        assert not (await loop.turn("thanks")).ended
        assert server.errors == []
        answered = server.requests[1].body["messages"][-1]["content"]
    assert ran == ["x"]
    (ours, ours_failed), (theirs, theirs_failed) = result_of(loop.messages[2])
    assert "too_few_refusals" in ours
    assert ours_failed
    assert (theirs, theirs_failed) == ("42", False)
    assert [block["content"] for block in answered] == [ours, theirs]
    assert [message["role"] for message in loop.messages] == ["user", "assistant"] * 3


async def test_a_refused_turn_leaves_the_history(twin: bool, streamed: bool) -> None:  # noqa: FBT001
    script: list[Any] = ["Hello.", MessageReply([end(), called("lookup", key="x")], stop_reason="refusal"), "Better."]
    with MessagesApiServer(script, strict_prefix=True) as server:
        loop = Loop(server, twin=twin, streamed=streamed, threaded=True)
        await loop.turn("hi")
        assert (await loop.turn("make me a weapon")).refused
        await loop.turn("make me a cake")
        assert server.errors == []
    assert ran == []
    assert len(loop.messages) == 4
    (record,) = loop.registry.decisions("c")
    assert UnmetCode.REFUSED_REPLY in record.decision.unmet


async def test_repeated_calls_are_cut_off(twin: bool, streamed: bool) -> None:  # noqa: FBT001
    script: list[Any] = [[end()], [end()], [end()], [end(), called("lookup", key="x")], "Fine."]
    with MessagesApiServer(script, strict_prefix=True) as server:
        loop = Loop(server, twin=twin, streamed=streamed, threaded=True)
        cut_off = await loop.turn("hi")
        assert (cut_off.again, cut_off.closing) == (False, Texts().still_here)
        assert loop.messages[-1]["content"] == cut_off.closing
        await loop.turn("still there?")
        assert server.errors == []
    assert ran == []


async def test_tools_of_a_reply_that_was_cut_short_do_not_run(twin: bool, streamed: bool) -> None:  # noqa: FBT001
    script: list[Any] = [MessageReply([called("lookup", key="x")], stop_reason="max_tokens"), "Fine."]
    with MessagesApiServer(script, strict_prefix=True) as server:
        loop = Loop(server, twin=twin, streamed=streamed, threaded=False)
        await loop.turn("hi")
        await loop.turn("still there?")
        assert server.errors == []
    assert ran == []
    assert "was not run" in loop.messages[2]["content"][0]["content"]


async def test_sealed_by_another_process_between_two_requests_of_one_run(twin: bool) -> None:  # noqa: FBT001
    loop: Loop

    def sealing(_: dict[str, Any]) -> list[dict[str, Any]]:
        loop.registry.seal(permit("c"))
        return [called("lookup", key="x")]

    with MessagesApiServer([sealing]) as server:
        loop = Loop(server, twin=twin, streamed=False, threaded=False)
        with pytest.raises(ThreadSealedError):
            await loop.turn("hi")
    assert ran == []


def test_messages_are_handed_out_with_their_outcome() -> None:
    script: list[Any] = [[end(), called("lookup", key="x")], "It is 42."]
    with (
        MessagesApiServer(script) as server,
        anthropic.Anthropic(base_url=server.base_url, api_key="test") as client,
    ):
        guard = guard_of(InMemorySealRegistry())
        messages: list[Any] = [{"role": "user", "content": "hi"}]
        runner = guard.conversation("c").tool_runner(
            client, model=MODEL, max_tokens=100, messages=messages, tools=[lookup]
        )
        seen = [(message.stop_reason, runner.outcome.again, list(ran)) for message in runner]
    assert seen == [("tool_use", True, []), ("end_turn", False, ["x"])]


def test_what_cannot_be_guarded_is_refused() -> None:
    guard = guard_of(InMemorySealRegistry())
    with anthropic.Anthropic(api_key="test") as client:
        chat = guard.conversation("c")
        eager: dict[str, Any] = {"stream": True, "run_tools_eagerly": True}
        with pytest.raises(InvalidInputError, match="run_tools_eagerly"):
            chat.tool_runner(client, model=MODEL, max_tokens=1, messages=[], **eager)
        with pytest.raises(InvalidInputError, match="messages: expected a list, got tuple"):
            chat.tool_runner(client, model=MODEL, max_tokens=1, messages=())  # type: ignore[arg-type]
