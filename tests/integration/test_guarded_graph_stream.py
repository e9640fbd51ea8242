"""The stream of a guarded graph, event by event beside that of the bare one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.config import get_stream_writer

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Category
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.readers import ModelReader
from end_conversation_tool.testing import ScriptedChatModel, in_one_message, tool_call
from support.agents import INSULT, LADDER, REFUSE, config, ending, ending_and_search, said, search_call
from support.graphs import Guarded, hand_written, shape
from support.keywords import QUICK

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
MODES = ["values", "updates", "messages", "custom", "tasks", "checkpoints", "debug"]


def agent(model: Any, tools: list[Any]) -> Any:
    return create_agent(model, tools)


@tool
def search(query: str) -> str:
    """Search."""
    get_stream_writer()({"progress": query})
    return f"found {query}"


def events(replies: list[Any], *, guarded: bool, build: Any, asynchronous: bool, **options: Any) -> list[Any]:
    graph = Guarded(replies, guarded=guarded, build=build, asynchronous=asynchronous)
    seen = []
    saved = options["stream_mode"] in (
        "checkpoints",
        "debug",
    )  # the checkpoints of the graph inside are those of a turn
    for turn in ("hi",) if saved else ("hi", "and?"):
        seen += graph.stream(said(turn), **options)
    return [shape(part) for part in seen]


def written_by(model: Any, tools: list[Any]) -> Any:
    return hand_written(model, [search, *tools[1:]])


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("mode", [*MODES, ["values", "updates"], ["messages", "custom", "updates"], None], ids=str)
@pytest.mark.parametrize("build", [written_by, agent], ids=["hand-written", "create_agent"])
@both
def test_a_caller_sees_what_the_bare_graph_shows(mode: Any, version: str, build: Any, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    options = {"stream_mode": mode, "version": version}
    replies = [search_call(), "found", "more"]
    bare, guarded = (
        events(replies, guarded=is_guarded, build=build, asynchronous=asynchronous, **options)
        for is_guarded in (False, True)
    )
    assert bare or mode == "custom"
    assert guarded == bare


@pytest.mark.parametrize("keys", ["messages", ["messages"]])
def test_output_keys(keys: Any) -> None:
    seen = [
        events(
            ["hello", "more"], guarded=guarded, build=None, asynchronous=False, stream_mode="values", output_keys=keys
        )
        for guarded in (False, True)
    ]
    assert seen[0] == seen[1]


@both
def test_with_subgraphs_the_wrapped_graph_is_seen_where_it_is(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    graph = Guarded([search_call(), "found"], asynchronous=asynchronous)
    parts = graph.stream(said("hi"), stream_mode="updates", subgraphs=True)
    assert [(len(namespace), list(update)) for namespace, update in parts] == [
        (1, ["model"]), (1, ["tools"]), (1, ["model"]), (0, ["agent"]),
    ]  # fmt: skip


@both
def test_events_of_astream_events(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    async def collect(*, guarded: bool) -> list[Any]:
        graph = Guarded([search_call(), "found"], guarded=guarded).graph
        kinds = ("on_chat_model_stream", "on_chat_model_end", "on_tool_start", "on_tool_end")
        return [
            (event["event"], event["name"], event["metadata"]["langgraph_node"])
            async for event in graph.astream_events(said("hi"), config(), version="v2")
            if event["event"] in kinds
        ]

    assert asynchronous in (True, False)
    bare, guarded = asyncio.run(collect(guarded=False)), asyncio.run(collect(guarded=True))
    assert bare
    assert bare == guarded


CLOSINGS = pytest.mark.parametrize(
    ("policy", "climbing"),
    [(QUICK, LADDER), (EndConversationPolicy(), [REFUSE, REFUSE, REFUSE])],
    ids=["statement", "notice"],
)


def stopped(graph: Guarded, **options: Any) -> tuple[list[Any], str]:
    """Return the events of the turn that stops, and its last word as the state has it."""
    parts = graph.climb().stream(said(INSULT), **options)
    last = graph.state()["messages"][-1]
    (record,) = graph.registry.decisions("t")
    assert last.text == (record.statement or Texts().notice(Category.ABUSE))
    return parts, last.text


@CLOSINGS
@pytest.mark.parametrize("build", [None, agent], ids=["hand-written", "create_agent"])
@both
def test_the_last_word_is_seen_in_every_stream(build: Any, policy: Any, climbing: Any, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    graph = Guarded([*climbing, ending_and_search()], build=build, asynchronous=asynchronous, policy=policy)
    parts, closing = stopped(graph, stream_mode=["updates", "values", "messages"])
    updates = [payload for mode, payload in parts if mode == "updates"]
    assert [list(update) for update in updates] == [["model"], ["agent"]]
    added = updates[-1]["agent"]["messages"]
    assert [message.type for message in added] == ["tool", "tool", "ai"]
    assert added[-1].text == closing
    assert bool(updates[-1]["agent"].get("conversation_end")) is graph.registry.status("t").sealed
    values = [payload for mode, payload in parts if mode == "values"]
    assert bool(values[-1].get("conversation_end")) is graph.registry.status("t").sealed
    assert values[-1]["messages"][-1].text == closing
    assert values[-1]["messages"][-3:] == added


@CLOSINGS
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("build", [None, agent], ids=["hand-written", "create_agent"])
@both
def test_a_loop_that_prints_the_models_messages_shows_the_last_word_and_no_tool_result(
    build: Any,
    version: str,
    policy: Any,
    climbing: Any,
    asynchronous: bool,  # noqa: FBT001 - both ways
) -> None:
    graph = Guarded([*climbing, ending_and_search()], build=build, asynchronous=asynchronous, policy=policy)
    parts, closing = stopped(graph, stream_mode="messages", version=version)
    shown = [part["data"] if version == "v2" else part for part in parts]
    assert [message.type for message, _ in shown if message.type == "tool"] == []
    printed = "".join(message.text for message, metadata in shown if metadata["langgraph_node"] == "model")
    assert printed == f"I will not.{closing}"


@CLOSINGS
@pytest.mark.parametrize("mode", [*MODES, None], ids=str)
@both
def test_no_stream_shows_private_state(mode: Any, policy: Any, climbing: Any, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    """Checkpoints are shown to whoever asks for them; what a caller of the graph sees is the rest."""
    graph = Guarded([*climbing, ending_and_search(), "hello"], asynchronous=asynchronous, policy=policy)
    parts, _ = stopped(graph, stream_mode=mode)
    assert "end_conversation_provenance" not in str(parts)
    assert "end_conversation_provenance" not in graph.state()
    assert "end_conversation_provenance" not in graph.invoke(said("hi"), config("other"))


@both
def test_what_a_reader_says_is_in_no_stream(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    found = {"kind": "abuse", "label": "m1", "quote": "THE READER SPEAKS"}
    report = in_one_message(tool_call("Report", {"findings": [found], "risk": "none"}), ending("THE READER SPEAKS"))
    reading = ScriptedChatModel([report], model_name="reading")
    graph = Guarded([*LADDER, ending(), "on we go"], asynchronous=asynchronous, reader=ModelReader(reading)).climb()
    parts = graph.stream(said(INSULT), stream_mode=["updates", "values", "messages", "custom"])
    assert len(reading.calls) == 1
    assert "THE READER SPEAKS" not in str(parts)
    assert len(graph.registry.decisions("t")) == 1


@both
def test_respond_is_seen_in_the_stream(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    graph = Guarded([*LADDER, ending()], asynchronous=asynchronous, on_sealed="respond").climb()
    graph.say(INSULT)
    parts = graph.stream(said("hello?"), stream_mode=["updates", "values"])
    assert [mode for mode, _ in parts] == ["updates", "values"]
    assert all(payload["conversation_end"]["ended"] for mode, payload in parts if mode == "values")


def test_a_stream_that_nobody_reads_to_its_end_seals_all_the_same() -> None:
    graph = Guarded([*LADDER, ending_and_search()]).climb()
    for update in graph.graph.stream(said(INSULT), config(), stream_mode="updates"):
        if "tools" in update:
            continue
        if [call["id"] for call in update["model"]["messages"][0].tool_calls][-1:] == ["s"]:
            break
    assert graph.registry.status("t").sealed
    assert graph.counter.runs == []
