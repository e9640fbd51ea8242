"""The provenance against a model of a thread that remembers everything: whatever happens, nothing is mistaken."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from end_conversation_tool._core.messages import ObservedMessage, Role
from end_conversation_tool._core.provenance import (
    NOTICES,
    OURS,
    OWN,
    REFUSED,
    Provenance,
    catch_up,
    digest_of,
    transcript_of,
)
from end_conversation_tool._core.records import ThreadStatus

KEY = b"k" * 32
words = st.sampled_from(["hello", "you idiot", "I will not", "", " ", "kill myself", "\ud800"])


@dataclass(frozen=True)
class Said:
    """One message, and what is true of it."""

    message: ObservedMessage
    turn: int
    mark: str


class Thread(RuleBasedStateMachine):
    """Says, answers and reopens; remembers the truth; and tampers with copies of it after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.known, self.older = Provenance(), list[Provenance]()
        self.said: list[Said] = []
        self.turn = self.floor = self.sequence = 0

    def _new(self, role: Role, text: str, *, turn: int, mark: str, summary: bool = False) -> ObservedMessage:
        message = ObservedMessage(role, text, f"m{len(self.said)}", summary=summary)
        self.said.append(Said(message, turn, mark))
        return message

    def _hear(self) -> list[ObservedMessage]:
        self.older.append(self.known)
        messages = [one.message for one in self.said]
        self.known, fresh = catch_up(self.known, reversed(messages), KEY)
        return fresh

    @initialize(seeded=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), words), max_size=3))
    def begins(self, seeded: list[tuple[Role, str]]) -> None:
        self.turn = int(any(role == "user" for role, _ in seeded))
        for role, text in seeded:
            self._new(role, text, turn=1, mark="user" if role == "user" else "foreign")
        self._hear()

    @rule(texts=st.lists(words, min_size=1, max_size=3), between=st.sampled_from([None, "assistant", "tool"]))
    def user_speaks(self, texts: list[str], between: Role | None) -> None:
        """All that comes at once is one turn, whatever a node has put between."""
        if not self.said or self.said[-1].mark != "user":
            self.turn += 1
        for number, text in enumerate(texts):
            if number and between is not None:
                self._new(between, "a node's", turn=self.turn, mark="foreign")
            self._new("user", text, turn=self.turn, mark="user")
        fresh = self._hear()
        assert [message.text for message in fresh] == texts

    @rule(text=words, mark=st.sampled_from([OWN, OWN, OWN, REFUSED]), tools=st.integers(0, 2))
    def model_answers(self, text: str, mark: str, tools: int) -> None:
        self.known = self.known.made(mark, self._new("assistant", text, turn=self.turn, mark=mark), KEY)
        for _ in range(tools):
            self._new("tool", "found", turn=self.turn, mark="foreign")
        self._hear()

    @rule(mark=st.sampled_from([*NOTICES.values(), OURS]))
    def we_speak(self, mark: str) -> None:
        self.known = self.known.made(mark, self._new("assistant", "ours", turn=self.turn, mark=mark), KEY)
        self._hear()

    @rule(text=words)
    def another_agent_speaks(self, text: str) -> None:
        self._new("assistant", text, turn=self.turn, mark="foreign")
        self._hear()

    @rule()
    def operator_reopens(self) -> None:
        self.sequence += 1
        self.floor = self.turn
        self.known = self.known.at(ThreadStatus(thread_id="t", sequence=self.sequence, reopened=self.sequence), 0)

    @rule()
    def process_restarts(self) -> None:
        dumped = json.loads(json.dumps(self.known.dump(KEY, "t")))
        loaded = Provenance.load(dumped, KEY, "t")
        assert loaded == self.known
        assert Provenance.load(dumped, KEY, "u") is None
        self.known = loaded

    @precondition(lambda self: len(self.said) > 1)
    @rule(data=st.data())
    def somebody_tampers(self, data: st.DataObject) -> None:
        """Each change of one thing is found; what is not whole gives evidence of nothing."""
        messages = [one.message for one in self.said]
        at = data.draw(st.integers(0, len(messages) - 1))
        how = data.draw(st.sampled_from(["remove", "change", "swap", "insert", "truncate"]))
        tampered = list(messages)
        if how == "remove":
            del tampered[at]
        elif how == "change":
            tampered[at] = messages[at]._replace(text=messages[at].text + "!")
        elif how == "insert":
            tampered.insert(at, ObservedMessage("assistant", "I will not", "x"))
        elif how == "truncate":
            del tampered[at:]
        else:
            tampered[at], tampered[at - 1] = tampered[at - 1], tampered[at]
        same = [digest_of(one, KEY) for one in tampered] == [digest_of(one, KEY) for one in messages]
        lines, heard, whole = transcript_of(self.known, tampered, KEY)
        assert not whole or (same and tampered[-1] == messages[-1])
        assert whole or not any(line.turn for line in lines)
        assert heard.turn >= self.known.turn or not whole

    @precondition(lambda self: bool(self.older))
    @rule(data=st.data())
    def an_older_copy_is_put_back(self, data: st.DataObject) -> None:
        """It can make evidence less, never more."""
        old = data.draw(st.sampled_from(self.older))
        messages = [one.message for one in self.said]
        lines, _, whole = transcript_of(old, messages, KEY)
        truth = {one.message.message_id for one in self.said if one.mark in (OWN, REFUSED)}
        shown = {line.message_id for line in lines if line.role == "assistant" and line.turn}
        assert not whole or shown <= truth

    @invariant()
    def every_message_has_its_place(self) -> None:
        lines, heard, whole = transcript_of(self.known, [one.message for one in self.said], KEY)
        assert whole
        assert heard == self.known
        assert heard.turn == self.turn
        by_id = {line.message_id: line for line in lines}
        for one in self.said:
            line = by_id.get(one.message.message_id)
            if one.mark in (*NOTICES.values(), OURS) or not one.message.text.strip():
                assert line is None
                continue
            assert line is not None
            counts = one.mark != "foreign" and one.turn > self.floor
            assert line.turn == (one.turn if counts else 0)
        refused = {one.turn for one in self.said if one.mark == REFUSED and one.turn > self.floor}
        assert self.known.refused_turns() == sorted(refused)
        for turn in range(1, self.turn + 1):
            marks = {one.mark for one in self.said if one.turn == turn}
            for category, mark in NOTICES.items():
                assert self.known.shows_notice(turn, category) == (mark in marks)


TestThread = Thread.TestCase
TestThread.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
