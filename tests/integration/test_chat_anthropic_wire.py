"""``ChatAnthropic`` in ``create_agent`` with the middleware, on the real wire: a whole ending, each request checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessageChunk, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool import SealedSaver, SqlSealRegistry, ThreadSealedError
from end_conversation_tool._core.prompts import PROMPT_SECTION
from end_conversation_tool._core.records import Category, Outcome, UnmetCode
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import MessageReply, MessagesApiServer
from support.agents import INSULT, REFUSE, report_on
from support.wire import MODEL, called, end

CONFIG: Any = {"configurable": {"thread_id": "c"}}

ran: list[str] = []


@tool
def lookup(key: str) -> str:
    """Look something up."""
    ran.append(key)
    return "42"


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[SqlSealRegistry]:
    with SqlSealRegistry(f"sqlite:///{tmp_path}/c.db") as opened:
        yield opened


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streaming(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def twin(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def agent_on(server: MessagesApiServer, registry: SqlSealRegistry, *, streaming: bool, **model: Any) -> Any:
    chat = ChatAnthropic(
        model=MODEL, base_url=server.base_url, api_key="test", max_retries=0, streaming=streaming, **model
    )
    return create_agent(
        chat,
        [lookup],
        system_prompt="Be kind.",
        middleware=[EndConversationMiddleware(registry=registry)],
        checkpointer=SealedSaver(InMemorySaver(), registry),
    )


async def say(agent: Any, text: str, *, twin: bool) -> dict[str, Any]:
    given = {"messages": [{"role": "user", "content": text}]}
    result: dict[str, Any] = await agent.ainvoke(given, CONFIG) if twin else agent.invoke(given, CONFIG)
    return result


def reading(body: dict[str, Any]) -> Any:
    """Answer the side call of the default reader, as a model does that is made to call one tool."""
    (offered,) = body["tools"]
    assert body["tool_choice"]["name"] == offered["name"]
    content = body["messages"][-1]["content"]
    question = content if isinstance(content, str) else content[0]["text"]
    return [{"type": "tool_use", "name": offered["name"], "input": report_on(question)}]


async def test_a_whole_ending(registry: SqlSealRegistry, streaming: bool, twin: bool) -> None:  # noqa: FBT001
    """Notice, a word of the user's, and the end, all on the default reader, which is the agent's own model."""
    last: list[Any] = [[end(), called("lookup", key="x")], reading]
    script: list[Any] = [
        *[REFUSE] * 3,
        [end(), called("lookup", "toolu_1", key="x")],
        reading,
        "Here is a soup.",
        *last,
    ]
    with MessagesApiServer(script, strict_prefix=True) as server:
        agent = agent_on(server, registry, streaming=streaming)
        for _ in range(4):
            noticed = await say(agent, INSULT, twin=twin)
        assert noticed["messages"][-1].text == Texts().notice(Category.ABUSE)
        assert (await say(agent, "a soup?", twin=twin))["messages"][-1].text == "Here is a soup."
        result = await say(agent, INSULT, twin=twin)
        with pytest.raises(ThreadSealedError) as refusal:
            await say(agent, "hello?", twin=twin)
        assert server.errors == []
        assert len(server.requests) == len(script)
        asked = [request for number, request in enumerate(server.requests) if script[number] is not reading]
        assert {bool(request.body.get("stream")) for request in asked} == {streaming}
        for request in asked:
            assert [offered["name"] for offered in request.body["tools"]] == ["end_conversation", "lookup"]
            assert str(request.body["system"]).count(PROMPT_SECTION[:40]) == 1
        after_notice = str(server.requests[5].body["messages"])
    assert "The user has been given notice" in after_notice
    assert noticed["messages"][-1].text[:40] in after_notice  # the model knows what the user was told
    assert result["conversation_end"]["statement"] == refusal.value.statement
    assert result["messages"][-1].text == refusal.value.statement
    assert ran == []
    honoured, sibling = result["messages"][-3:-1]
    assert isinstance(honoured, ToolMessage)
    assert isinstance(sibling, ToolMessage)
    assert (honoured.status, sibling.status) == ("success", "error")
    records = registry.decisions("c")
    assert [record.outcome for record in records] == [Outcome.NOTICED, Outcome.SEALED]
    assert all(record.reading and record.reading.input_tokens for record in records)


async def test_a_denied_end_goes_on_and_its_siblings_run(
    registry: SqlSealRegistry,
    streaming: bool,  # noqa: FBT001
    twin: bool,  # noqa: FBT001
) -> None:
    script: list[Any] = [[end(), called("lookup", key="x")], "It is 42.", "Bye."]
    with MessagesApiServer(script, strict_prefix=True) as server:
        agent = agent_on(server, registry, streaming=streaming)
        result = await say(agent, "what is it?", twin=twin)
        await say(agent, "thanks", twin=twin)
        assert server.errors == []
        results = server.requests[1].body["messages"][-1]["content"]
    assert [block["type"] for block in results] == ["tool_result", "tool_result"]
    assert ran == ["x"]
    assert result["messages"][-1].text == "It is 42."


async def test_malformed_arguments_are_a_denied_call(
    registry: SqlSealRegistry,
    streaming: bool,  # noqa: FBT001
    twin: bool,  # noqa: FBT001
) -> None:
    with MessagesApiServer([[end(input={"category": "boredom"})], "Fine."], strict_prefix=True) as server:
        await say(agent_on(server, registry, streaming=streaming), "hi", twin=twin)
        assert server.errors == []
    (record,) = registry.decisions("c")
    assert UnmetCode.INVALID_ARGUMENTS in record.decision.unmet


async def test_the_tool_calls_of_a_refusal_do_not_run(
    registry: SqlSealRegistry,
    streaming: bool,  # noqa: FBT001
    twin: bool,  # noqa: FBT001
) -> None:
    refusal = MessageReply([end()], stop_reason="refusal", stop_details={"type": "refusal", "category": "cyber"})
    with MessagesApiServer([refusal, "Fine."], strict_prefix=True) as server:
        await say(agent_on(server, registry, streaming=streaming), "hi", twin=twin)
        assert server.errors == []
    (record,) = registry.decisions("c")
    assert UnmetCode.REFUSED_REPLY in record.decision.unmet


async def test_thinking_comes_back_as_it_came(registry: SqlSealRegistry, streaming: bool, twin: bool) -> None:  # noqa: FBT001
    thought = {"type": "thinking", "thinking": "Hm."}
    script: list[Any] = [[thought, end()], [thought, {"type": "text", "text": "Well."}], "Fine."]
    with MessagesApiServer(script, strict_prefix=True) as server:
        agent = agent_on(server, registry, streaming=streaming)
        await say(agent, "hi", twin=twin)
        await say(agent, "and?", twin=twin)
        assert server.errors == []
        assert server.requests[1].body["messages"][1]["content"][0]["signature"]


def test_tokens_stream_out_of_the_graph(registry: SqlSealRegistry) -> None:
    with MessagesApiServer(["Hello there, friend."], strict_prefix=True) as server:
        agent = agent_on(server, registry, streaming=True)
        given = {"messages": [{"role": "user", "content": "hi"}]}
        pieces = [
            piece.text
            for piece, _ in agent.stream(given, CONFIG, stream_mode="messages")
            if isinstance(piece, AIMessageChunk) and piece.text
        ]
        assert server.errors == []
    assert len(pieces) > 1
    assert "".join(pieces) == "Hello there, friend."
