"""Replays: the gate, run over a recorded conversation, to see what a policy would make of it.

A replay is an analysis, not enforcement, and it differs from a live thread in three points:

1. Assistant messages of the recording are taken as made by the model. In a live thread nothing that is handed in counts
   as evidence (R12); here everything is handed in.
2. At each assistant message a probe asks: had the model called ``end_conversation`` in this message, and confirmed
   it, would the end have been permitted? A probe changes nothing: neither the ledger nor the registry.
3. There is no judge, and no list of models: a policy that requires a judge permits nothing here, and one that names
   models is read as if one of them spoke.

Calls of ``end_conversation`` in the recording itself are ruled on as in a live thread. Once one is honoured, the replay
of that conversation is over: a live thread would have refused whatever follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from end_conversation_tool.detectors import default_detectors
from end_conversation_tool.detectors.base import DetectorSuite, ObservedMessage, Signal, SignalKind
from end_conversation_tool.gate import Gate
from end_conversation_tool.judgement import assess_risk, note_reply
from end_conversation_tool.ledger import Ledger, TurnEvidence
from end_conversation_tool.messages import reply_of, user_messages
from end_conversation_tool.models import (
    Category,
    EndRequest,
    EvidenceKind,
    Outcome,
    RiskAssessment,
    RiskFlag,
    UnmetCode,
)
from end_conversation_tool.policy import EndConversationPolicy, decide
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.tool import TOOL_NAME
from end_conversation_tool.visit import Call, Reply, Ruling, RunContext, Visit

__all__ = ["CallRuling", "FirstPermit", "ReplayResult", "TurnMarks", "replay_conversation"]

_THREAD = "replay"
_PROBE = Reply(ObservedMessage("assistant", "", ""), (Call("probe", TOOL_NAME, {}),))


@dataclass(frozen=True, slots=True)
class TurnMarks:
    """What one user turn shows.

    Attributes:
        turn: Number of the user turn, from 1.
        kinds: Kinds of evidence.
        doubt: Whether the risk check had no definite answer.
    """

    turn: int
    kinds: tuple[EvidenceKind, ...]
    doubt: bool = False


@dataclass(frozen=True, slots=True)
class FirstPermit:
    """The first turn at which an end would be permitted on one ground."""

    turn: int
    category: Category


@dataclass(frozen=True, slots=True)
class CallRuling:
    """How the gate ruled on a call that the recording contains.

    Attributes:
        turn: Number of the user turn.
        category: The ground; ``None`` when the arguments are malformed.
        outcome: What became of it.
        unmet: Every condition that does not hold.
    """

    turn: int
    category: Category | None
    outcome: Outcome
    unmet: tuple[UnmetCode, ...]


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay shows.

    Attributes:
        turns: User turns that were replayed.
        evidence: The turns that show something.
        risk_flags: The flags raised, oldest first.
        permits: The first permitted turn on each ground that is ever permitted, earliest first.
        calls: The recording's own calls.
        ended: Whether one of those was honoured (in shadow mode: would have been).
        not_replayed: Messages after the honoured call.
    """

    turns: int
    evidence: tuple[TurnMarks, ...]
    risk_flags: tuple[RiskFlag, ...]
    permits: tuple[FirstPermit, ...]
    calls: tuple[CallRuling, ...]
    ended: bool = False
    not_replayed: int = 0

    @property
    def first_permit(self) -> FirstPermit | None:
        """The earliest turn at which an end would be permitted; ``None`` when it never would."""
        return self.permits[0] if self.permits else None


def replay_conversation(
    messages: Sequence[BaseMessage], policy: EndConversationPolicy, detectors: DetectorSuite | None = None
) -> ReplayResult:
    """Run the gate over a recorded conversation.

    Args:
        messages: The conversation, as ``transcripts.read_recordings`` gives it.
        policy: When an end is permitted.
        detectors: What is seen in messages; ``None`` for the offline detectors of this package.
    """
    return _Replay(policy, _Remembering(detectors or default_detectors())).run(messages)


class _Remembering(DetectorSuite):
    """Asks about each message once: detectors are pure, and every probe looks at the whole conversation again."""

    def __init__(self, suite: DetectorSuite) -> None:
        super().__init__(suite.detectors)
        self._suite = suite
        self._seen: dict[tuple[str, str, str], dict[SignalKind, Signal]] = {}

    def observe(self, message: ObservedMessage) -> dict[SignalKind, Signal]:
        key = (message.role, message.message_id, message.text)
        if key not in self._seen:
            self._seen[key] = self._suite.observe(message)
        return self._seen[key]


class _Replay:
    """One replay: walks through the messages and collects what happens."""

    def __init__(self, policy: EndConversationPolicy, detectors: DetectorSuite) -> None:
        self._policy, self._detectors = policy, detectors
        self._model = min(policy.models) if policy.models else None
        self._gate = Gate(policy=policy, registry=InMemorySealRegistry(), detectors=detectors, sinks=())
        self._visit = self._admit(None)
        self._heard: list[ObservedMessage] = []
        self._evidence: dict[int, TurnEvidence] = {}
        self._permits: dict[Category, int] = {}
        self._calls: list[CallRuling] = []

    def run(self, messages: Sequence[BaseMessage]) -> ReplayResult:
        waiting: list[HumanMessage] = []
        for position, message in enumerate(messages):
            if isinstance(message, HumanMessage):
                waiting.append(message)
            elif isinstance(message, AIMessage):
                self._hear(waiting)
                waiting = []
                if self._reply(message):
                    return self._result(ended=True, not_replayed=len(messages) - position - 1)
        if waiting:  # the last word is the user's
            self._hear(waiting)
            self._probe(_PROBE)
        return self._result()

    def _admit(self, state: Mapping[str, Any] | None) -> Visit:
        return self._gate.admit(RunContext(_THREAD, model=self._model), state)

    def _hear(self, messages: Sequence[HumanMessage]) -> None:
        """Hear a user turn as a new run does: with the thread's status as it is by then."""
        new = list(user_messages(messages))
        if new:
            self._heard += new
            self._visit = self._gate.hear(self._visit, new)
            self._visit = replace(self._visit, status=self._gate.registry.status(_THREAD))

    def _reply(self, message: AIMessage) -> bool:
        """Probe, then note the reply and rule on its own call, if there is one; says whether that is honoured."""
        reply = reply_of(message)
        self._probe(reply)
        self._visit, ruling = self._gate.rule(self._visit, reply, self._history)
        self._keep_evidence()
        return ruling is not None and self._ruled(ruling)

    def _history(self) -> Iterable[ObservedMessage]:
        return tuple(self._heard)

    def _ruled(self, ruling: Ruling) -> bool:
        record = ruling.record
        self._calls.append(CallRuling(record.turn, record.category, record.outcome, record.decision.unmet))
        return record.outcome in (Outcome.SEALED, Outcome.WOULD_HAVE_SEALED)

    def _probe(self, reply: Reply) -> None:
        """Ask on which further grounds an end would be permitted, had this message asked for it and confirmed it."""
        open_questions = [category for category in self._policy.categories if category not in self._permits]
        if not open_questions or self._visit.ledger.turn == 0:
            return
        asking = replace(reply, end_calls=_PROBE.end_calls, refused=False)
        ledger = note_reply(self._detectors, self._visit.ledger, asking)
        for category in open_questions:
            if self._permitted(ledger, category, RiskAssessment()) and self._permitted(ledger, category, self._risk()):
                self._permits[category] = ledger.turn

    def _permitted(self, ledger: Ledger, category: Category, risk: RiskAssessment) -> bool:
        confirmed = replace(ledger, pending=(category, self._policy.confirmation_calls), denials=0)
        request = EndRequest(category=category, reason="replay")
        return decide(self._policy, confirmed, request, risk=risk, model=self._model).permitted

    def _risk(self) -> RiskAssessment:
        """Look at the whole conversation: asked last, since it costs the most."""
        visit = self._visit
        risk, _ = assess_risk(self._detectors, visit.ledger, visit.status, self._heard, self._policy.window_turns)
        return risk

    def _keep_evidence(self) -> None:
        """Keep what the newest turn shows; the ledger itself forgets old turns."""
        here = self._visit.ledger.current
        if here.marks or here.doubt:
            self._evidence[here.turn] = here

    def _result(self, *, ended: bool = False, not_replayed: int = 0) -> ReplayResult:
        self._keep_evidence()
        permits = sorted(self._permits.items(), key=lambda item: (item[1], str(item[0])))
        return ReplayResult(
            turns=self._visit.ledger.turn,
            evidence=tuple(TurnMarks(n, tuple(e.marks), e.doubt) for n, e in sorted(self._evidence.items())),
            risk_flags=self._gate.registry.status(_THREAD).risk_flags,
            permits=tuple(FirstPermit(turn, category) for category, turn in permits),
            calls=tuple(self._calls),
            ended=ended,
            not_replayed=not_replayed,
        )
