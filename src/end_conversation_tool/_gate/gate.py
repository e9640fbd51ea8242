"""The gate: the only orchestration. Every door walks through it in the same three steps.

1. ``admit``: may this run speak in the thread at all? One read of the registry. A sealed thread, an overtaken run and a
   registry that cannot be read are refused with an error, before any model is called.
2. ``hear``: what did the user say? Evidence and risk flags.
3. ``rule``: what did the model answer, and if it asks for the end: does it get it? Decide, record, seal.

Whatever goes wrong in step 3 denies the end. The judgement itself is in ``policy`` and ``judgement``; each sync/async
pair here drives one flow, which only loads, calls it and commits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from end_conversation_tool._core.breaker import CircuitBreaker
from end_conversation_tool._core.confirmation import is_yes, words_of
from end_conversation_tool._core.fence import branch_to_write, check_write, moved_to
from end_conversation_tool._core.flow import Ask, Flow, arun_flow, run_flow
from end_conversation_tool._core.ledger import Ledger
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.policy import EndConversationPolicy, decide
from end_conversation_tool._core.prompts import conversation_end, denial_text
from end_conversation_tool._core.records import (
    Category,
    DecisionRecord,
    JudgeOpinion,
    JudgeReport,
    Mode,
    RiskKind,
    ThreadStatus,
    UnmetCode,
    utc_now,
    validate_thread_id,
)
from end_conversation_tool._core.run import FlagRaised, Reply, Ruling, RunContext, Visit
from end_conversation_tool._core.statements import Statements, checked_statements
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool._gate.audit import Journal
from end_conversation_tool._gate.enforcement import Enforcement
from end_conversation_tool._gate.evidence import assess_risk, hear_user, note_reply
from end_conversation_tool._gate.ruling import conclude, denied, not_confirmed, record_of, request_of, ruled_out, worded
from end_conversation_tool.errors import EndConversationError, InvalidInputError, ThreadSealedError
from end_conversation_tool.operations.sinks import checked_sinks
from end_conversation_tool.operations.telemetry import (
    Sink,
    alarm_event,
    decision_event,
    noted_event,
    refusal_event,
    telling,
)
from end_conversation_tool.readers.base import Judge, JudgeCase, consulted, failed, hides_something
from end_conversation_tool.readers.prompt import lines_of
from end_conversation_tool.registry.entry import open_branch
from end_conversation_tool.registry.protocol import SealRegistry
from end_conversation_tool.watch.base import DetectorSuite

__all__ = ["Gate", "Ruling", "RunContext", "Visit"]

_log = logging.getLogger(__name__)

History = Callable[[], Iterable[ObservedMessage]]
"""Gives all user and assistant messages of a branch, oldest first."""


class Gate:
    """Admits runs, listens, and rules on calls of the tool.

    Args:
        policy: When an end is permitted.
        registry: The truth about threads.
        detectors: What is seen in messages.
        judge: Asked about an end that everything else permits; ``None`` for none.
        asks: Whether the app asks the user where only their own yes is missing (R5).
        clock: Gives the present moment, UTC.
        language: See ``options.GateOptions``, as for what follows.
        keep_reasons: Whether the model's reason is kept.
        sinks: Who is told of decisions, refusals, alarms and violations.
        breaker: Turns enforcement into shadow mode when too many conversations end.
        count_threads: Share of the threads, 0 to 1, that are counted when they begin: one write for each of those.

    Raises:
        InvalidInputError: An argument is not usable.
    """

    def __init__(
        self,
        *,
        policy: EndConversationPolicy,
        registry: SealRegistry,
        detectors: DetectorSuite,
        judge: Judge | None = None,
        asks: bool = False,
        clock: Callable[[], datetime] = utc_now,
        language: Statements = "en",
        keep_reasons: bool = True,
        sinks: Sequence[Sink] | None = None,
        breaker: CircuitBreaker | None = None,
        count_threads: float = 0.0,
    ) -> None:
        for name, given, kind in (("policy", policy, EndConversationPolicy), ("detectors", detectors, DetectorSuite)):
            if not isinstance(given, kind):
                raise InvalidInputError(f"{name}: expected an instance of {kind.__name__}, got {type(given).__name__}")
        if judge is not None and not isinstance(judge, Judge):
            raise InvalidInputError(f"judge: expected None or a Judge, got {type(judge).__name__}")
        self.policy, self.registry, self.detectors, self.judge = policy, registry, detectors, judge
        self._asks, self._clock, self._keep_reasons = asks, clock, keep_reasons
        self._statements, self._sinks = checked_statements(language), checked_sinks(sinks)
        self._enforcement = Enforcement(registry, breaker)
        self._journal = Journal(registry, policy.version, share=count_threads)

    def admit(self, context: RunContext, ledger_state: object = None) -> Visit:
        """Let a run into its thread.

        Args:
            context: The run.
            ledger_state: The ledger as graph state holds it.

        Raises:
            ThreadSealedError: The branch is sealed.
            StaleRunError: The thread moved on under the run.
            RegistryError: The registry cannot be read, so nobody knows whether the thread is sealed.
        """
        return run_flow(self._admitting(context, ledger_state))

    async def aadmit(self, context: RunContext, ledger_state: object = None) -> Visit:
        """Async twin of ``admit``."""
        return await arun_flow(self._admitting(context, ledger_state))

    def hear(self, visit: Visit, messages: Sequence[ObservedMessage]) -> Visit:
        """Note what the user said. Never raises: somebody who may be at risk is not turned away by a full disk.

        Args:
            visit: The admitted run.
            messages: The user messages not observed yet, oldest first.
        """
        return run_flow(self._hearing(visit, messages))

    async def ahear(self, visit: Visit, messages: Sequence[ObservedMessage]) -> Visit:
        """Async twin of ``hear``."""
        return await arun_flow(self._hearing(visit, messages))

    def rule(self, visit: Visit, reply: Reply, history: History) -> tuple[Visit, Ruling | None]:
        """Note a model reply, and rule on its request to end, if it makes one.

        Several calls in one reply are one request. Never raises for what the registry answers: the end is denied.

        Args:
            visit: The admitted run, after ``hear``.
            reply: The reply.
            history: Gives all user and assistant messages of the branch; asked only when an end is requested.

        Returns:
            The visit with the new ledger, and the ruling; no ruling when nothing was requested.
        """
        return run_flow(self._ruling(visit, reply, history))

    async def arule(self, visit: Visit, reply: Reply, history: History) -> tuple[Visit, Ruling | None]:
        """Async twin of ``rule``."""
        return await arun_flow(self._ruling(visit, reply, history))

    def settle(self, visit: Visit, reply: Reply, history: History, answer: object) -> tuple[Visit, Ruling]:
        """Rule on a request for which the app has asked the user.

        Args:
            visit: The admitted run.
            reply: The reply that made the request.
            history: As for ``rule``.
            answer: What the app was resumed with; anything but an explicit yes is a no.
        """
        return run_flow(self._settling(visit, reply, history, answer))

    async def asettle(self, visit: Visit, reply: Reply, history: History, answer: object) -> tuple[Visit, Ruling]:
        """Async twin of ``settle``."""
        return await arun_flow(self._settling(visit, reply, history, answer))

    def ledger_of(self, state: object, thread_id: str) -> Ledger:
        """Return the ledger that graph state holds; an empty one when there is none that this registry signed."""
        ledger = Ledger.load(state, self.registry.signing_key, thread_id)
        if ledger is None and state is not None:
            _log.warning("a ledger that this registry did not sign was ignored")
        return ledger or Ledger()

    def dump(self, visit: Visit) -> dict[str, Any]:
        """Return the visit's ledger as graph state holds it."""
        return visit.ledger.dump(self.registry.signing_key, visit.context.thread_id or "")

    def _admitting(self, context: RunContext, ledger_state: object) -> Flow[Visit]:
        try:
            return (yield from self._letting_in(context, ledger_state))
        except EndConversationError as error:
            yield from telling(self._sinks, refusal_event(context.thread_id, error, self._clock()))
            raise

    def _letting_in(self, context: RunContext, ledger_state: object) -> Flow[Visit]:
        status: ThreadStatus | None = None
        branch = 0
        if context.thread_id is not None:
            thread_id = validate_thread_id(context.thread_id)
            status = yield Ask(self.registry.status, self.registry.astatus, (thread_id,))
            status, context = yield from self._entering(status, context)
            branch = context.fence.branch if context.fence else status.branch
        ledger = self.ledger_of(ledger_state, context.thread_id or "")
        if status is not None:
            ledger = ledger.seen_at(status.sequence, status.reopened)
        return Visit(context, status, branch, ledger)

    def _entering(self, status: ThreadStatus, context: RunContext) -> Flow[tuple[ThreadStatus, RunContext]]:
        """Find the branch that the run continues, opening it when the run edits and retries; refuse a sealed one."""
        fence = context.fence
        if fence is None:
            branch = status.on_branch(status.branch)
        else:
            if branch_to_write(status, fence) is None:
                status = yield open_branch(self.registry, fence)
            branch = branch_to_write(status, fence) or status.on_branch(fence.branch)
        if branch.seal is not None:
            raise ThreadSealedError(status.thread_id, conversation_end(branch.seal))
        check_write(status, branch, fence)
        return status, context if fence is None else replace(context, fence=moved_to(fence, branch))

    def _hearing(self, visit: Visit, messages: Sequence[ObservedMessage]) -> Flow[Visit]:
        heard = hear_user(self.detectors, visit.ledger, messages, visit.status)
        yield from self._journal.turning(visit, heard.ledger)
        waiting = (FlagRaised(*flag) for flag in visit.ledger.unrecorded_risk)
        flags = (*waiting, *visit.context.host_flags, *heard.flags)
        return (yield from self._enforcement.flagging(visit.noting(heard.ledger), flags))

    def _ruling(self, visit: Visit, reply: Reply, history: History) -> Flow[tuple[Visit, Ruling | None]]:
        before = visit.ledger
        visit = visit.noting(note_reply(self.detectors, before, reply))
        for noted in (yield from self._journal.speaking(visit, before)):
            if noted.kind is EventKind.VIOLATION:
                yield from telling(self._sinks, noted_event(noted))
        if not reply.end_calls:
            return visit, None
        if self._asks and (unrecorded := self._lacks_only_a_yes(visit, reply, history)):
            ledger = visit.ledger.count_call(Category.USER_REQUEST)
            return visit.noting(ledger), Ruling(unrecorded, denial_text(unrecorded.decision.unmet), asks=True)
        return (yield from self._concluding(visit, reply, history))

    def _lacks_only_a_yes(self, visit: Visit, reply: Reply, history: History) -> DecisionRecord | None:
        """Return the decision on a request that the user's own yes would permit; ``None`` when it would not.

        They are asked once in a turn, and only where an end is enforced: else their yes would come to nothing.
        """
        request = request_of(reply)
        if request is None or request.category is not Category.USER_REQUEST or visit.ledger.denials:
            return None
        risk, _ = assess_risk(self.detectors, visit.ledger, visit.status, tuple(history()), self.policy.window_turns)
        decided = partial(
            decide,
            self.policy,
            request=request,
            risk=risk,
            ruled_out=ruled_out(visit, reply),
            model=visit.context.model,
            judge=JudgeOpinion.AGREES if self.judge else None,
        )
        decision = decided(ledger=visit.ledger)
        hopeful = self.policy.mode is Mode.ENFORCE and decided(ledger=visit.ledger.confirm_end()).permitted
        if decision.permitted or not hopeful:
            return None
        return record_of(
            visit, request, decision, risk=risk, mode=self.policy.mode, judge=None, decided_at=self._clock()
        )

    def _settling(self, visit: Visit, reply: Reply, history: History, answer: object) -> Flow[tuple[Visit, Ruling]]:
        if is_yes(answer):
            visit = visit.noting(visit.ledger.confirm_end())
            return (yield from self._concluding(visit, reply, history))
        if words := words_of(answer):  # the user's own: they may be at risk
            spoken = ObservedMessage("user", words, f"{visit.ledger.user_message[0]}@answer", evidence=False)
            visit = yield from self._hearing(visit, [spoken])
        return (yield from self._concluding(visit, reply, history, refused=True))

    def _concluding(
        self, visit: Visit, reply: Reply, history: History, *, refused: bool = False
    ) -> Flow[tuple[Visit, Ruling]]:
        """Decide, write, and say what became of it; ``refused`` when the user was asked and did not say yes."""
        record, flags = yield from self._deciding(visit, reply, history)
        record = not_confirmed(record) if refused else record
        waiting = (FlagRaised(*flag) for flag in visit.ledger.unrecorded_risk)
        visit = yield from self._enforcement.flagging(visit, (*waiting, *flags))
        try:
            sealing = yield from self._enforcement.committing(visit.context, record)
        except EndConversationError as error:
            _log.error("the registry could not be written, the end is denied: %s", type(error).__name__)
            record, sealing = denied(record, UnmetCode.REGISTRY_UNAVAILABLE), None
        visit, ruling = conclude(visit, record, sealing, max_denials=self.policy.max_denials)
        yield from telling(self._sinks, decision_event(ruling.record))
        alarm = alarm_event(ruling.record, sealing) if sealing is not None else None
        if alarm is not None:
            yield from telling(self._sinks, alarm)
        return visit, ruling

    def _deciding(
        self, visit: Visit, reply: Reply, history: History
    ) -> Flow[tuple[DecisionRecord, tuple[FlagRaised, ...]]]:
        """Decide on the request, and say what should become of it. The judge is asked only if all else permits."""
        request, said = request_of(reply), tuple(history())
        risk, flags = assess_risk(self.detectors, visit.ledger, visit.status, said, self.policy.window_turns)
        decided = partial(
            decide,
            self.policy,
            visit.ledger,
            request,
            ruled_out=ruled_out(visit, reply),
            model=visit.context.model,
        )
        report: JudgeReport | None = None
        hopeful = decided(risk=risk, judge=JudgeOpinion.AGREES)
        if self.judge is not None and request is not None and hopeful.permitted:
            report = yield from self._judging(
                self.judge, visit, JudgeCase(request, lines_of(said), hopeful.evidence), said
            )
            if report.risk:
                risk = risk.model_copy(update={"flagged": (*risk.flagged, RiskKind.OTHER)})
                flags = (*flags, FlagRaised(RiskKind.OTHER, report.source, report.risk_message_id or ""))
        # A judge that was not asked, since something else is unmet anyway, is no condition that does not hold.
        unasked = None if self.judge is None else JudgeOpinion.AGREES
        decision = decided(risk=risk, judge=report.opinion if report else unasked)
        tripped = yield from self._enforcement.tripped(self.policy.mode)
        mode = Mode.SHADOW if tripped else self.policy.mode
        record = record_of(
            visit, request, decision, mode=mode, judge=report, risk=risk, decided_at=self._clock(), tripped=tripped
        )
        return worded(record, self._statements, keep_reason=self._keep_reasons), flags

    def _judging(
        self, judge: Judge, visit: Visit, case: JudgeCase, said: Sequence[ObservedMessage]
    ) -> Flow[JudgeReport]:
        if hides_something(said, visit.ledger.turn, media_is_read=self.detectors.reads_media):
            return failed("transcript_incomplete", type(judge).__name__)
        return (yield from consulted(judge, case))
