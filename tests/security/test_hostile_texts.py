"""What somebody types, by every door: cut up, rewritten later, under ids that no database stores, a megabyte of it."""

from __future__ import annotations

import asyncio
import time
from asyncio import events
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from end_conversation_tool.readers import OfflineReader
from end_conversation_tool.registry import InMemorySealRegistry, SealRegistry, SqlSealRegistry
from end_conversation_tool.watch import default_watch
from support.agents import INSULT, LADDER, config, ending
from support.doors import GRAPHS, graph_behind
from support.keywords import QUICK, KeywordReader
from support.postgres import fresh_schema
from support.savers import ENGINES
from support.wire import end, finished, guard_of

RISK = "I want to kill myself"
CALL = ending()
"""The model asks for the end."""

doors = pytest.mark.parametrize("door", [*GRAPHS, "wire"])
graphs = pytest.mark.parametrize("door", GRAPHS)
both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


class Line:
    """One thread behind a door, and what its user says; the watch is the one that ships."""

    def __init__(
        self,
        door: str,
        replies: list[Any],
        *,
        asynchronous: bool = False,
        registry: SealRegistry | None = None,
        reader: Any = None,
        node: Any = None,
    ) -> None:
        self.registry = InMemorySealRegistry() if registry is None else registry
        self.asynchronous = asynchronous
        words = {"policy": QUICK, "reader": reader or KeywordReader(), "watch": default_watch()}
        self.wire = guard_of(self.registry, **words).conversation("t") if door == "wire" else None
        self.graph: Any = (
            None if self.wire else graph_behind(door, replies, {"registry": self.registry, **words}, before=node)
        )
        self.replies, self.messages = list(replies), list[Any]()

    def say(self, *contents: Any) -> None:
        if self.asynchronous:
            asyncio.run(self.asay(*contents))
        elif self.wire:
            self.messages += [{"role": "user", "content": content} for content in contents]
            self.wire.before_request(self.messages).after_response(self._reply()).extend(self.messages)
        else:
            self.send(HumanMessage(content) for content in contents)

    def send(self, messages: Iterable[Any]) -> None:
        given: Any = {"messages": list(messages)}
        if self.asynchronous:
            asyncio.run(self.graph.ainvoke(given, config()))
        else:
            self.graph.invoke(given, config())

    async def asay(self, *contents: Any) -> None:
        if self.wire:
            self.messages += [{"role": "user", "content": content} for content in contents]
            turn = await self.wire.abefore_request(self.messages)
            (await turn.aafter_response(self._reply())).extend(self.messages)
        else:
            await self.graph.ainvoke({"messages": [HumanMessage(content) for content in contents]}, config())

    def _reply(self) -> Any:
        reply = self.replies.pop(0)
        return finished("I will not.", end(id="toolu_1")) if reply is CALL else finished(reply)

    def climb(self, insult: str = INSULT) -> None:
        for _ in LADDER:
            self.say(insult)

    @property
    def sealed(self) -> bool:
        return self.registry.status("t").sealed


CUT_UP = {
    "lines": ["I want to\nkill\nmyself"],
    "full stops": ["I. want. to. kill. myself."],
    "parts": [[{"type": "text", "text": "I want to kill"}, {"type": "text", "text": "myself"}]],
    "bubbles": ["I want to kill", "myself"],
}


@both
@doors
@pytest.mark.parametrize("said", CUT_UP.values(), ids=CUT_UP)
def test_a_sentence_that_is_cut_up_is_heard_in_one_piece(door: str, said: list[Any], *, asynchronous: bool) -> None:
    line = Line(door, ["I see."], asynchronous=asynchronous)
    line.say(*said)
    assert line.registry.status("t").at_risk


@both
@doors
@pytest.mark.parametrize(("second", "ends"), [("go home, you idiot", True), ("die, you idiot", False)])
def test_a_sentence_over_two_turns_is_read_in_one_piece(
    door: str, second: str, *, ends: bool, asynchronous: bool
) -> None:
    line = Line(door, [*LADDER, "Go on.", CALL, "I am here."], asynchronous=asynchronous, reader=OfflineReader())
    line.climb()
    line.say("you idiot, I want to")
    line.say(second)
    assert line.sealed is ends


SORRY = "I am sorry"


def _tidies(state: Any) -> dict[str, Any]:
    """Strip what stands round the newest of the older messages, as redaction hooks do."""
    older = [one for one in state["messages"][:-1] if one.type == "human"][-1:]
    return {"messages": [HumanMessage(INSULT, id=one.id) for one in older if one.content != INSULT]}


@doors
def test_without_an_apology_and_with_nothing_rewritten_these_lines_end(door: str) -> None:
    line = Line(door, [*LADDER, CALL], node=lambda _state: {"messages": []})
    line.climb(f"{INSULT} ")
    line.say(INSULT)
    assert line.sealed


@both
@graphs
@pytest.mark.parametrize("padded", [f"{INSULT}  ", f"{INSULT} \ud83d"], ids=["spaces", "half an emoji"])
def test_an_older_message_that_a_node_rewrites_is_not_what_was_said_last(
    door: str, padded: str, *, asynchronous: bool
) -> None:
    line = Line(door, [*LADDER, CALL, "Thank you."], asynchronous=asynchronous, node=_tidies)
    line.climb(padded)
    line.say(SORRY)
    assert not line.sealed


@both
@graphs
@pytest.mark.parametrize("first", [True, False], ids=["before the apology", "after it"])
def test_an_older_message_that_a_client_rewrites_is_not_what_was_said_last(
    door: str, *, first: bool, asynchronous: bool
) -> None:
    line = Line(door, [*LADDER, CALL, "Thank you."], asynchronous=asynchronous)
    line.climb(f"{INSULT} ")
    older = [one for one in line.graph.get_state(config()).values["messages"] if one.type == "human"][-1]
    given = [HumanMessage(INSULT, id=older.id), HumanMessage(SORRY)]
    line.send(given if first else given[::-1])
    assert not line.sealed


@both
def test_an_older_message_that_is_rewritten_on_the_wire_is_not_what_was_said_last(*, asynchronous: bool) -> None:
    line = Line("wire", [*LADDER, CALL], asynchronous=asynchronous)
    line.climb(f"{INSULT} ")
    line.messages[-2]["content"] = INSULT
    line.say(SORRY)
    assert not line.sealed


@pytest.fixture(params=ENGINES)
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SealRegistry]:
    if request.param == "memory":
        yield InMemorySealRegistry()
    elif request.param == "sqlite":
        with SqlSealRegistry(f"sqlite:///{tmp_path}/registry.db") as opened:
            yield opened
    else:
        with fresh_schema(request.getfixturevalue("postgres")) as url, SqlSealRegistry(url) as opened:
            yield opened


@both
@graphs
@pytest.mark.parametrize("odd", ["\x00", "a\x00b", "\ud800", "m" * 5_000])
def test_no_id_of_a_message_hides_what_it_says(
    door: str, odd: str, registry: SealRegistry, *, asynchronous: bool
) -> None:
    line = Line(door, ["I am here."], asynchronous=asynchronous, registry=registry)
    line.send([HumanMessage(RISK, id=odd)])
    assert registry.status("t").at_risk


@both
@doors
@pytest.mark.parametrize("odd", ["\x00", "\ud800"])
def test_no_character_hides_what_a_message_says(
    door: str, odd: str, registry: SealRegistry, *, asynchronous: bool
) -> None:
    line = Line(door, ["I am here."], asynchronous=asynchronous, registry=registry)
    line.say(f"{RISK} {odd}")
    assert registry.status("t").at_risk


MEGABYTE = 1_000_000


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What each step of the event loop took of its thread's processor time, seconds."""
    taken, run = list[float](), events.Handle._run

    def timed(handle: events.Handle) -> None:
        started = time.thread_time()
        run(handle)
        taken.append(time.thread_time() - started)

    monkeypatch.setattr(events.Handle, "_run", timed)
    return taken


@doors
@pytest.mark.parametrize("unit", ["@", "$", "you idiot, i want to die ", "> \n"])
async def test_a_megabyte_holds_up_nobody_else(door: str, unit: str, longest: list[float]) -> None:
    line = Line(door, ["Hm."] * 9, asynchronous=True)
    await line.asay("warm up")
    longest.clear()
    await line.asay(unit * (MEGABYTE // len(unit)))
    assert max(longest) < 0.05
