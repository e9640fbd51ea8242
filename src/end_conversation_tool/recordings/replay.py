"""Replays: the gate, run over a recorded conversation, to see what a policy would make of it.

A replay is an analysis, not enforcement, and it differs from a live thread in three points:

1. Assistant messages of the recording are taken as made by the model. In a live thread nothing that is handed in counts
   as evidence (R12); here everything is handed in.
2. At each assistant message a probe asks: had the model called ``end_conversation`` in this message, and confirmed
   it, would the end have been permitted? A probe changes nothing: neither the ledger nor the registry.
3. A policy that names models is read as if one of them spoke.
4. A judge, where there is one, is asked once about each conversation in which everything else permits an end, at the
   first such turn; or about every conversation at its last user turn. Without one, a policy that requires a judge
   permits nothing.

Calls of ``end_conversation`` in the recording itself are ruled on as in a live thread, by the judge too. Once one is
honoured, the replay of that conversation is over: a live thread would have refused whatever follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from end_conversation_tool._core.ledger import Ledger, TurnEvidence
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.policy import EndConversationPolicy, decide
from end_conversation_tool._core.records import (
    Category,
    Decision,
    EndRequest,
    JudgeOpinion,
    Outcome,
    RiskAssessment,
)
from end_conversation_tool._core.request import TOOL_NAME
from end_conversation_tool._core.run import Call, Reply, Ruling, RunContext, Visit
from end_conversation_tool._doors.langgraph.messages import reply_of, said_messages, user_messages
from end_conversation_tool._gate.evidence import assess_risk, note_reply
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.readers.base import Judge, JudgeCase, failed, hides_something
from end_conversation_tool.readers.metered import AskedOnce
from end_conversation_tool.readers.prompt import lines_of
from end_conversation_tool.recordings.records import CallRuling, FirstPermit, Judged, ReplayResult, TurnMarks
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.watch import default_detectors
from end_conversation_tool.watch.base import DetectorSuite, Signal, SignalKind

__all__ = ["CallRuling", "FirstPermit", "Judged", "ReplayResult", "TurnMarks", "replay_conversation"]

_THREAD = "replay"
_PROBE = Reply(ObservedMessage("assistant", "", ""), (Call("probe", TOOL_NAME, {}),))


def replay_conversation(
    messages: Sequence[BaseMessage],
    policy: EndConversationPolicy,
    detectors: DetectorSuite | None = None,
    *,
    judge: Judge | None = None,
    judge_all: bool = False,
) -> ReplayResult:
    """Run the gate over a recorded conversation.

    Args:
        messages: The conversation, as ``transcripts.read_recordings`` gives it.
        policy: When an end is permitted.
        detectors: What is seen in messages; ``None`` for the offline detectors of this package.
        judge: A second model that is asked about an end; ``None`` for none. The same question is put only once.
        judge_all: Ask the judge about the last user turn, whatever everything else says; where that permits no end, on
            the ground that comes closest to one.
    """
    asked = None if judge is None else AskedOnce(judge)
    return _Replay(policy, _Remembering(detectors or default_detectors()), asked, judge_all=judge_all).run(messages)


class _Remembering(DetectorSuite):
    """Asks about each message once: detectors are pure, and every probe looks at the whole conversation again."""

    def __init__(self, suite: DetectorSuite) -> None:
        super().__init__(suite.detectors, reads_media=suite.reads_media)
        self._suite = suite
        self._seen: dict[tuple[str, str, str], dict[SignalKind, Signal]] = {}

    def observe(self, message: ObservedMessage) -> dict[SignalKind, Signal]:
        key = (message.role, message.message_id, message.text)
        if key not in self._seen:
            self._seen[key] = self._suite.observe(message)
        return self._seen[key]


class _Replay:
    """One replay: walks through the messages and collects what happens."""

    def __init__(
        self, policy: EndConversationPolicy, detectors: DetectorSuite, judge: Judge | None, *, judge_all: bool
    ) -> None:
        self._policy, self._detectors, self._judge, self._judge_all = policy, detectors, judge, judge_all
        self._model = min(policy.models) if policy.models else None
        self._gate = Gate(policy=policy, registry=InMemorySealRegistry(), detectors=detectors, judge=judge, sinks=())
        self._visit = self._admit(None)
        self._evidence: dict[int, TurnEvidence] = {}
        self._permits: dict[Category, int] = {}
        self._calls: list[CallRuling] = []
        self._said: list[ObservedMessage] = []
        self._judged: Judged | None = None
        self._last_asking: tuple[Ledger, int] | None = None

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
            self._said += said_messages([message])
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
        return tuple(self._said)

    def _ruled(self, ruling: Ruling) -> bool:
        record = ruling.record
        unmet = record.decision.unmet
        self._calls.append(CallRuling(record.turn, record.category, record.outcome, unmet, record.judge))
        return record.outcome in (Outcome.SEALED, Outcome.WOULD_HAVE_SEALED)

    def _probe(self, reply: Reply) -> None:
        """Ask on which further grounds an end would be permitted, had this message asked for it and confirmed it."""
        open_questions = [category for category in self._policy.categories if category not in self._permits]
        if self._visit.ledger.turn == 0 or not (open_questions or self._judge_all):
            return
        asking = replace(reply, end_calls=_PROBE.end_calls, refused=False)
        ledger = note_reply(self._detectors, self._visit.ledger, asking)
        self._last_asking = ledger, len(self._said)
        for category in sorted(open_questions, key=str):
            if self._decided(ledger, category, RiskAssessment()).permitted:
                self._probed(ledger, category, self._decided(ledger, category, self._risk()))

    def _probed(self, ledger: Ledger, category: Category, decision: Decision) -> None:
        """Note a first permit, and ask the judge about the very first."""
        if not decision.permitted:
            return
        self._permits[category] = ledger.turn
        if self._judged is None and not self._judge_all:
            self._judged = self._judged_at(ledger, category, decision, self._said)

    def _decided(self, ledger: Ledger, category: Category, risk: RiskAssessment) -> Decision:
        """Decide on a confirmed request, as far as a judge that agrees would let it be permitted."""
        confirmed = replace(ledger, pending=(category, self._policy.confirmation_calls), denials=0)
        opinion = None if self._judge is None else JudgeOpinion.AGREES
        return decide(self._policy, confirmed, _request(category), risk=risk, model=self._model, judge=opinion)

    def _judged_last(self) -> Judged | None:
        """Ask the judge about the last user turn, on the ground that comes closest to an end."""
        if self._last_asking is None:
            return None
        ledger, count = self._last_asking
        risk = self._risk()
        decisions = {category: self._decided(ledger, category, risk) for category in Category}
        chosen = {category: found for category, found in decisions.items() if category in self._policy.categories}
        category, decision = min((chosen or decisions).items(), key=lambda item: len(item[1].unmet))
        return self._judged_at(ledger, category, decision, self._said[:count])

    def _judged_at(
        self, ledger: Ledger, category: Category, decision: Decision, said: Sequence[ObservedMessage]
    ) -> Judged | None:
        if self._judge is None:
            return None
        if hides_something(said, ledger.turn, media_is_read=self._detectors.reads_media):
            report = failed("transcript_incomplete", type(self._judge).__name__)
        else:
            report = self._judge.opine(JudgeCase(_request(category), lines_of(said), decision.evidence))
        return Judged(ledger.turn, category, decision.unmet, report)

    def _risk(self) -> RiskAssessment:
        """Look at the whole conversation: asked last, since it costs the most."""
        visit = self._visit
        risk, _ = assess_risk(self._detectors, visit.ledger, visit.status, self._said, self._policy.window_turns)
        return risk

    def _keep_evidence(self) -> None:
        """Keep what the newest turn shows; the ledger itself forgets old turns."""
        here = self._visit.ledger.current
        if here.marks or here.doubt:
            self._evidence[here.turn] = here

    def _result(self, *, ended: bool = False, not_replayed: int = 0) -> ReplayResult:
        self._keep_evidence()
        judged = self._judged_last() if self._judge_all else self._judged
        permits = sorted(self._permits.items(), key=lambda item: (item[1], str(item[0])))
        return ReplayResult(
            turns=self._visit.ledger.turn,
            evidence=tuple(TurnMarks(n, tuple(e.marks), e.doubt) for n, e in sorted(self._evidence.items())),
            risk_flags=self._gate.registry.status(_THREAD).risk_flags,
            permits=tuple(FirstPermit(turn, category) for category, turn in permits),
            calls=tuple(self._calls),
            ended=ended,
            not_replayed=not_replayed,
            judged=judged,
        )


def _request(category: Category) -> EndRequest:
    return EndRequest(category=category, reason="replay")
