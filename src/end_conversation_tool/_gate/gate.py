"""The gate: the only orchestration. Every door walks through it in the same three steps.

1. ``admit``: may this run speak in the thread at all? One read of the registry, or what the saver has just read of it.
   A sealed thread, an overtaken run and a registry that cannot be read are refused with an error, before any model is
   called.
2. ``hear``, or ``listen`` and ``attend``: what did the user say? The watch looks at it, at once or while the model
   speaks; a clear sign is a flag.
3. ``rule``: what did the model answer, and if it asks for the end: what comes of it? The trip of a request:
   3.1 what is known without reading: acts, counts, flags, whether the transcript is whole;
   3.2 does anything deny already? Then nobody reads;
   3.3 the reader reads the whole transcript, at most once in a user turn;
   3.4 every finding is checked;
   3.5 ``decide``;
   3.6 the record is written, with the notice or the seal, before anybody hears of it;
   3.7 the answer to the model, and the last word to the user.

Whatever goes wrong in step 3 denies the end. Each step is a flow; the doors drive it, sync or async.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

from end_conversation_tool._core.confirmation import is_yes, words_of
from end_conversation_tool._core.evidence import Evidence, check_reading, is_unsound
from end_conversation_tool._core.fence import check_write, is_ordinary, moved_to
from end_conversation_tool._core.flow import Flow, ask, beside
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.operations import CircuitBreaker
from end_conversation_tool._core.policy import EndConversationPolicy, Facts, decide
from end_conversation_tool._core.prompts import conversation_end
from end_conversation_tool._core.provenance import OWN, REFUSED, Provenance, catch_up, digest_of, transcript_of
from end_conversation_tool._core.reading import Line, Reading, ReadingCase
from end_conversation_tool._core.records import (
    Category,
    Decision,
    DecisionRecord,
    EndRequest,
    Mode,
    Outcome,
    ReadingReport,
    RiskGrade,
    RiskKind,
    ThreadStatus,
    UnmetCode,
    utc_now,
)
from end_conversation_tool._core.run import FlagRaised, Reply, Ruling, Run, RunContext
from end_conversation_tool._core.texts import Texts
from end_conversation_tool._core.vocabulary import Asked, EvidenceKind
from end_conversation_tool._gate.enforcement import Enforcement
from end_conversation_tool._gate.ruling import conclude, denied, record_of, report_of, request_of, ruled_out
from end_conversation_tool.errors import EndConversationError, InvalidInputError, ThreadSealedError
from end_conversation_tool.operations.sinks import checked_sinks
from end_conversation_tool.operations.telemetry import (
    Sink,
    alarm_event,
    decision_event,
    noted_event,
    refusal_event,
    tell,
)
from end_conversation_tool.readers.base import Reader, read_by
from end_conversation_tool.registry.operations_protocol import ExperimentRegistry
from end_conversation_tool.registry.protocol import SealRegistry, branch_of_run
from end_conversation_tool.watch import RiskWatch

__all__ = ["Gate", "History"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

History = Callable[[], Iterable[ObservedMessage]]
"""Gives all messages of users, assistant and tools of a branch, oldest first."""


class _Known(NamedTuple):
    """What is known of a request before anybody reads.

    Attributes:
        request: What the model asks for; ``None`` when its arguments were malformed.
        lines: The transcript.
        facts: Acts and counts.
        codes: What the surroundings and the transcript rule out.
        reader: Who would read.
    """

    request: EndRequest | None
    lines: tuple[Line, ...]
    facts: Facts
    codes: frozenset[UnmetCode]
    reader: Reader | None


class _Settled(NamedTuple):
    """What somebody has said to a request that waited for them.

    Attributes:
        asked: Who.
        yes: Whether they want the end.
    """

    asked: Asked
    yes: bool


class _Read(NamedTuple):
    """What came of reading.

    Attributes:
        decision: The decision.
        report: What is recorded of the reading; ``None`` when nobody read.
        flags: Signs of risk that the readers can show.
    """

    decision: Decision
    report: ReadingReport | None = None
    flags: tuple[FlagRaised, ...] = ()


class Gate:
    """Admits runs, listens, and rules on calls of the tool.

    Args:
        policy: When an end is permitted.
        registry: The truth about threads.
        reader: Who reads the transcript; ``None`` where each request brings its own reader.
        watch: Who looks at each user message for risk.
        texts: What the user reads.
        asks: Whether the app asks the user by an interrupt where only their own yes is missing (R5).
        reviews: Whether an end for which all else holds waits for a reviewer.
        clock: Gives the present moment, UTC.
        keep_reasons: Whether the model's reason and the quotes are kept.
        sinks: Who is told of decisions, risk flags, refusals, alarms and violations.
        breaker: Turns enforcement into shadow mode when too many conversations end.
        count_threads: Share of the threads, 0 to 1, that are counted when they begin: one write for each of those.
        asking_tools: Names of the tools that ask the user, whose results are what a person said.

    Raises:
        InvalidInputError: An argument is not usable.
    """

    def __init__(
        self,
        *,
        policy: EndConversationPolicy,
        registry: SealRegistry,
        reader: Reader | None,
        watch: RiskWatch,
        texts: Texts | None = None,
        asks: bool = False,
        reviews: bool = False,
        clock: Callable[[], datetime] = utc_now,
        keep_reasons: bool = True,
        sinks: Sequence[Sink] | None = None,
        breaker: CircuitBreaker | None = None,
        count_threads: float = 0.0,
        asking_tools: Iterable[str] = (),
    ) -> None:
        for name, given, kind in (("policy", policy, EndConversationPolicy), ("watch", watch, RiskWatch)):
            if not isinstance(given, kind):
                raise InvalidInputError(f"{name}: expected an instance of {kind.__name__}, got {given!r}")
        if reader is not None and not isinstance(reader, Reader):
            raise InvalidInputError(f"reader: expected None or a Reader, got {type(reader).__name__}")
        self.policy, self.registry, self.reader, self.watch = policy, registry, reader, watch
        self.texts = texts or Texts()
        self._asks, self._reviews, self._clock, self._keep_reasons = asks, reviews, clock, keep_reasons
        self._sinks = checked_sinks(sinks)
        self._enforcement = Enforcement(registry, breaker, self._sinks)
        self._share = _checked_share(count_threads, registry)
        self.asking_tools = _checked_names(asking_tools)
        self._key = registry.signing_key

    # 1

    def admit(self, context: RunContext, state: object = None) -> Flow[Run]:
        """Let a run into its thread.

        Args:
            context: The run.
            state: The provenance as graph state holds it.

        Raises:
            ThreadSealedError: The branch is sealed.
            StaleRunError: The thread moved on under the run.
            RegistryError: The registry cannot be read, so nobody knows whether the thread is sealed.
        """
        try:
            return (yield from self._let_in(context, state))
        except EndConversationError as error:
            yield from tell(self._sinks, refusal_event(context.thread_id, error, self._clock()))
            raise

    def _let_in(self, context: RunContext, state: object) -> Flow[Run]:
        known = self.provenance_of(state, context.thread_id or "")
        if context.thread_id is None:
            return Run(context, None, 0, known)
        status = context.status or (yield from ask(self.registry.status, self.registry.astatus, context.thread_id))
        fence = context.fence
        if fence is not None and is_ordinary(fence, status):
            return Run(context, status, fence.branch, known.at(status, fence.branch))
        status, branch = yield from branch_of_run(self.registry, status, fence)
        if branch.seal is not None:
            raise ThreadSealedError(status.thread_id, conversation_end(branch.seal))
        check_write(status, branch, fence)
        if fence is not None:
            context = context._replace(fence=moved_to(fence, branch))
        return Run(context, status, branch.branch, known.at(status, branch.branch))

    # 2

    def hear(self, run: Run, newest_first: Iterable[ObservedMessage]) -> Flow[Run]:
        """Listen to what came since the last time. Never raises: a full disk turns nobody away who may be at risk.

        Args:
            run: The admitted run.
            newest_first: All messages of the branch, the newest first; read only as far back as needed.
        """
        run, suspect = yield from self._take_in(run, newest_first)
        return (yield from self._alarm(run, suspect)) if suspect else run

    def listen(self, run: Run, newest_first: Iterable[ObservedMessage]) -> Flow[Run]:
        """Begin to listen: what a cheap look does not clear is looked at beside whatever comes next. See ``hear``."""
        run, suspect = yield from self._take_in(run, newest_first)
        return run._replace(watching=(yield from beside(self._alarm(run, suspect)))) if suspect else run

    def _take_in(
        self, run: Run, newest_first: Iterable[ObservedMessage]
    ) -> Flow[tuple[Run, Sequence[ObservedMessage]]]:
        """Take in what came since the last time, and return what of users a cheap look does not clear."""
        before = run.provenance
        known, fresh = catch_up(before, newest_first, self._key, self.asking_tools)
        run = run._replace(provenance=known)
        if not before.length and known.turn:
            yield from self._count(run)
        run = yield from self._enforcement.raise_flags(run, run.context.host_flags)
        return run, fresh if self._may_alarm(fresh) else ()

    def heard(self, run: Run) -> Flow[Run]:
        """Wait until the watch is done with what ``listen`` has begun: nothing is ruled on before."""
        if run.watching is None:
            return run
        seen = yield from run.watching.result()
        provenance = run.provenance._replace(unrecorded=seen.provenance.unrecorded)
        return run._replace(flagged=seen.flagged, provenance=provenance, watching=None)

    def attend(self, run: Run, speaking: Flow[T]) -> Flow[tuple[Run, T]]:
        """Let the model speak while the watch looks. Both are over when this returns, and so they are where it fails.

        Where the run is given up meanwhile, the watch goes on, and what it sees is a flag.

        Args:
            run: The run, after ``listen``.
            speaking: The call of the model.
        """
        try:
            answer = yield from speaking
        except Exception:
            yield from self.heard(run)
            raise
        return (yield from self.heard(run)), answer

    def overhear(self, run: Run, answer: object) -> Flow[Run]:
        """Listen to what a person has said elsewhere than in a message: in answer to an interrupt. See ``hear``.

        What of it cannot be read is a doubt: no end is possible on this branch any more.
        """
        words = words_of(answer)
        if not words.whole:
            run = run._replace(provenance=run.provenance._replace(broken=True))
        return (yield from self._look(run, [ObservedMessage("user", words.text, "")])) if words.text else run

    def hear_results(self, run: Run, results: Iterable[ObservedMessage]) -> Flow[Run]:
        """Listen to the results of tools that ask the user, as they come: the run may end with them. See ``hear``."""
        asked = [one for one in results if one.answers(self.asking_tools)]
        return (yield from self._look(run, asked)) if asked else run

    def miss(self, run: Run, came: Sequence[ObservedMessage], *, gone: bool) -> Flow[Run]:
        """Listen to what came in, of which something is not on the branch as it came. To be called before ``hear``.

        No reader gets to see it. So no end is possible on this branch any more where it is gone, or where what came may
        be a sign of risk.

        Args:
            run: The admitted run.
            came: All that users said in what came in.
            gone: Whether a message is missing, and not only its words.
        """
        if gone or self.doubts(came):
            run = run._replace(provenance=run.provenance._replace(broken=True))
        return (yield from self._look(run, came)) if came else run

    def doubts(self, words: Sequence[ObservedMessage]) -> bool:
        """Whether what a user has said in a row may be a sign of risk, looked at in full."""
        seen = self.watch.look([one.text for one in words], media=any(one.media for one in words))
        return seen.grade is not RiskGrade.NONE

    def _look(self, run: Run, fresh: Sequence[ObservedMessage]) -> Flow[Run]:
        """Look for risk at what a user has said in a row: a clear sign is a flag, anything less is for the reader."""
        if self._may_alarm(fresh):
            return (yield from self._alarm(run, fresh))
        return (yield from self._enforcement.raise_flags(run, ()))

    def _may_alarm(self, fresh: Sequence[ObservedMessage]) -> bool:
        return bool(fresh) and self.watch.may_alarm([message.heard for message in fresh])

    def _alarm(self, run: Run, fresh: Sequence[ObservedMessage]) -> Flow[Run]:
        """Look in full at what a cheap look has not cleared."""
        heard = [message.heard for message in fresh]
        seen, newest = (yield from ask(self.watch.alarm, self.watch.aalarm, heard)), fresh[-1]
        flags = list[FlagRaised]()
        if seen.grade is RiskGrade.CLEAR:
            # Of all that was said in a row, not of the newest alone: who clears it clears no other words before that.
            said, digest = newest.message_id, digest_of(newest._replace(text="\n".join(heard)), self._key)
            kinds = seen.kinds or (RiskKind.OTHER,)
            flags = [FlagRaised(kind, seen.source, said, seen.score, digest=digest) for kind in kinds]
        return (yield from self._enforcement.raise_flags(run, flags))

    # 3

    def rule(
        self, run: Run, reply: Reply, history: History, *, reader: Reader | None = None
    ) -> Flow[tuple[Run, Ruling | None]]:
        """Note a model reply, and rule on its request to end, if it makes one.

        Several calls in one reply are one request. Never raises for what the registry answers: the end is denied.

        Args:
            run: The admitted run, after ``hear``.
            reply: The reply.
            history: Gives the branch as it was before the reply; asked only when an end is requested.
            reader: Who reads for this request; ``None`` for the gate's own.

        Returns:
            The run with what is known by now, and the ruling; no ruling when nothing was requested.
        """
        if not reply.end_calls:
            return self._noted(run, reply), None
        run, ruling = yield from self._conclude(run, reply, history, reader)
        return run, ruling

    def settle(
        self, run: Run, reply: Reply, history: History, answer: object, *, reader: Reader | None = None
    ) -> Flow[tuple[Run, Ruling]]:
        """Rule on a request for which the app has asked the user.

        Args:
            run: The admitted run.
            reply: The reply that made the request.
            history: As for ``rule``, with the reply in it.
            answer: What the app was resumed with; anything but an explicit yes is a no.
            reader: As for ``rule``.
        """
        yes = is_yes(answer)
        if not yes:
            run = yield from self.overhear(run, answer)
        return (yield from self._conclude(run, reply, history, reader, settled=_Settled(Asked.USER, yes)))

    def review(
        self, run: Run, reply: Reply, history: History, *, reader: Reader | None = None
    ) -> Flow[tuple[Run, Ruling]]:
        """Rule anew on a request that a reviewer has approved: their yes is needed, and takes the place of nothing.

        Args:
            run: The admitted run.
            reply: The reply that made the request, with the arguments that they approved.
            history: As for ``settle``.
            reader: As for ``rule``.
        """
        return (yield from self._conclude(run, reply, history, reader, settled=_Settled(Asked.REVIEWER, yes=True)))

    def turn_down(self, run: Run, asked: Asked, reply: Reply, history: History) -> Flow[Run]:
        """Rule on a request that waited for a yes which did not come; without reading.

        Args:
            run: The admitted run, before ``hear``.
            asked: Whose yes it waited for.
            reply: The reply that made the request.
            history: As for ``settle``.
        """
        run, _ = yield from self._conclude(run, reply, history, None, settled=_Settled(asked, yes=False))
        return run

    def _noted(self, run: Run, reply: Reply) -> Run:
        mark = REFUSED if reply.refused else OWN
        return run._replace(provenance=run.provenance.made(mark, reply.message, self._key))

    def provenance_of(self, state: object, thread_id: str) -> Provenance:
        """Return what graph state holds; nothing known when there is none that this registry signed."""
        known = Provenance.load(state, self._key, thread_id)
        if known is None and state is not None:
            _log.warning("a provenance that this registry did not sign was ignored")
        return known or Provenance()

    def dump(self, run: Run) -> dict[str, Any]:
        """Return what is known by now as graph state holds it, bound to the checkpoint on which the node runs."""
        known = run.provenance._replace(checkpoint=run.context.checkpoint_id or "")
        return known.dump(self._key, run.context.thread_id or "")

    def _conclude(
        self, run: Run, reply: Reply, history: History, reader: Reader | None, *, settled: _Settled | None = None
    ) -> Flow[tuple[Run, Ruling]]:
        """Rule on a request; ``settled`` is the answer of whoever was asked: then there is an end, or none."""
        run, said = (yield from self.heard(run)), tuple(history())
        known = self._known(run, reply, said, reader or self.reader, settled=settled)
        if UnmetCode.TRANSCRIPT_INCOMPLETE in known.codes:  # what was rewritten in place was heard by nobody
            users = [one for one in said if one.role == "user"]
            if users:
                run = yield from self._look(run, users)
        found = yield from self._read(run, known)
        if found.report is not None:
            run = run._replace(provenance=run.provenance._replace(read_turn=known.facts.turn))
        run = yield from self._enforcement.raise_flags(run, found.flags)
        tripped = yield from self._enforcement.tripped(self.policy.mode)
        record = record_of(
            run,
            known.request,
            found.decision,
            turn=known.facts.turn,
            mode=Mode.SHADOW if tripped else self.policy.mode,
            texts=self.texts,
            flagged=[*known.facts.flagged, *run.flagged],
            reading=found.report,
            decided_at=self._clock(),
            tripped=tripped,
            keep_words=self._keep_reasons,
            reviewed=settled == _Settled(Asked.REVIEWER, yes=True),
        )
        after = self._noted(run, reply) if settled is None else run
        if settled is None and (asked := self._asked(record)) is not None:
            return after._replace(provenance=after.provenance._replace(asking=asked)), Ruling(record, "", asks=True)
        if settled is not None and record.outcome is Outcome.NOTICED:  # a reviewer has changed the ground
            record = record.model_copy(update={"outcome": Outcome.DENIED})
        try:
            written = yield from self._enforcement.commit(run.context, record)
        except EndConversationError as error:
            _log.error("the registry could not be written, the end is denied: %s", type(error).__name__)
            record, written = denied(record, UnmetCode.REGISTRY_UNAVAILABLE), None
        after, ruling = conclude(
            after, reply, record, written, max_denials=self.policy.max_denials, texts=self.texts, key=self._key
        )
        yield from self._tell(run, ruling, written)
        return after, ruling

    def _asked(self, record: DecisionRecord) -> Asked | None:
        """Return whose yes alone is missing, and would be enforced; ``None`` for nobody's."""
        if self._asks and record.category is Category.USER_REQUEST and record.outcome is Outcome.NOTICED:
            return Asked.USER
        return Asked.REVIEWER if self._reviews and record.outcome is Outcome.SEALED else None

    def _known(
        self,
        run: Run,
        reply: Reply,
        said: Sequence[ObservedMessage],
        reader: Reader | None,
        *,
        settled: _Settled | None,
    ) -> _Known:
        """3.1: gather what is known without reading a word."""
        lines, heard, whole = transcript_of(run.provenance, said, self._key)
        users = [line for line in lines if line.role == "user"]
        status = run.status
        flagged = {flag.kind for flag in status.risk_flags if flag.active} if status else set()
        flagged |= {*run.flagged, *(kind for kind, *_ in run.provenance.unrecorded)}
        notices = status.on_branch(run.branch).notices if status else ()
        facts = Facts(
            turn=heard.turn,
            newest_message=users[-1].message_id if users and users[-1].turn == heard.turn else "",
            flagged=tuple(sorted(flagged)),
            denials=run.provenance.denials,
            notices=tuple(
                one
                for one in notices
                if one.turn > heard.floor and (one.shadow or heard.shows_notice(one.turn, one.category))
            ),
            refused_turns=heard.refused_turns(),
            confirmed=settled == _Settled(Asked.USER, yes=True),
            shadow=self.policy.mode is Mode.SHADOW,
        )
        unread = any(one.media for one in said if one.role != "assistant") and not self.watch.reads_media
        found = {
            UnmetCode.RISK_UNCERTAIN: unread,
            UnmetCode.NO_READER: reader is None,
            UnmetCode.TRANSCRIPT_INCOMPLETE: not whole or any(one.summary for one in said),
            UnmetCode.ALREADY_READ_THIS_TURN: settled is None and run.provenance.read_turn == heard.turn > 0,
            UnmetCode.USER_DID_NOT_CONFIRM: settled == _Settled(Asked.USER, yes=False),
            UnmetCode.REVIEWER_DID_NOT_APPROVE: settled == _Settled(Asked.REVIEWER, yes=False),
        }
        codes = ruled_out(run, reply) | {code for code, fails in found.items() if fails}
        return _Known(request_of(reply), lines, facts, frozenset(codes), reader)

    def _read(self, run: Run, known: _Known) -> Flow[_Read]:
        """3.2 to 3.5: have the transcript read, unless something denies already, and decide."""
        asked = (self.policy, known.facts, known.request)
        model = run.context.model
        hopeful = decide(*asked, ruled_out=known.codes, model=model)
        if known.reader is None or not hopeful.permitted:
            return _Read(hopeful)
        case = ReadingCase(known.lines)
        reading = yield from read_by(known.reader, case)
        parts = _leaves(reading)
        cleared = _cleared(run.status, known.lines, self._key)
        evidence = [check_reading(part, case, cleared) for part in parts]
        failure = reading.failure
        if failure is None and any(is_unsound(one) for one in evidence):
            failure = UnmetCode.READING_UNSOUND
        codes = known.codes if failure is None else known.codes | {failure}
        if reading.parts and any(one.risk is not RiskGrade.NONE for one in _all_of(reading)):
            codes |= {UnmetCode.RISK_UNCERTAIN}
        decision = decide(*asked, evidence, ruled_out=codes, model=model)
        if failure is not None:
            # What could not be read well is no finding, and what is missing in it no condition that does not hold.
            decision = decide(*asked, ruled_out=codes | _doubts(evidence), model=model)
        yield from self._note_violations(run, decision, evidence)
        return _Read(decision, report_of(reading, evidence), tuple(_shown_risk(parts, evidence, self._key)))

    def _count(self, run: Run) -> Flow[None]:
        """Count a thread that begins, if it is one of those that are counted."""
        registry, thread_id = self.registry, run.context.thread_id
        if not self._share or thread_id is None or not isinstance(registry, ExperimentRegistry):
            return
        if not is_counted(thread_id, self._share):
            return
        try:
            yield from ask(
                registry.count_thread,
                registry.acount_thread,
                thread_id,
                policy=self.policy.version,
                model=run.context.model,
                share=self._share,
            )
        except EndConversationError as error:
            _log.warning("a thread could not be counted: %s", type(error).__name__)

    def _note_violations(self, run: Run, decision: Decision, evidence: Sequence[Evidence]) -> Flow[None]:
        """Note that the assistant has warned somebody who may be at risk: it is instructed not to (R6)."""
        registry, thread_id = self.registry, run.context.thread_id
        at_risk = {UnmetCode.RISK_FLAGGED, UnmetCode.RISK_UNCERTAIN} & set(decision.unmet)
        warnings = [one for found in evidence for one in found.records if one.kind is EvidenceKind.WARNING]
        if not at_risk or thread_id is None or not isinstance(registry, ExperimentRegistry):
            return
        for warning in warnings[:1]:
            try:
                noted = yield from ask(
                    registry.note_violation,
                    registry.anote_violation,
                    thread_id,
                    evidence=warning.model_copy(update={"quote": ""}),
                    branch=run.branch,
                    policy=self.policy.version,
                    model=run.context.model,
                )
            except EndConversationError as error:
                _log.warning("a violation could not be noted and is lost: %s", type(error).__name__)
            else:
                for event in noted:
                    yield from tell(self._sinks, noted_event(event))

    def _tell(self, run: Run, ruling: Ruling, written: object) -> Flow[None]:
        del run
        _log.info(
            "end requested: %s, unmet: %s", ruling.record.outcome, ", ".join(ruling.record.decision.unmet) or "none"
        )
        yield from tell(self._sinks, decision_event(ruling.record))
        alarm = alarm_event(ruling.record, written)
        if alarm is not None:
            yield from tell(self._sinks, alarm)


def is_counted(thread_id: str, share: float) -> bool:
    """Whether a thread is one of those that are counted; every process gives the same answer."""
    number = int.from_bytes(blake2b(thread_id.encode(), digest_size=7).digest())
    return number < share * 2**56


def _cleared(status: ThreadStatus | None, lines: Sequence[Line], key: bytes) -> frozenset[str]:
    """Return the labels of the messages that the host has cleared of risk: those words, under that id, and no others.

    A flag that knows no words, one of a host or from an older version, clears nothing.
    """
    flags = status.risk_flags if status else ()
    cleared = {(flag.message_id, flag.digest) for flag in flags if not flag.active and flag.digest}
    if not cleared:
        return frozenset()
    return frozenset(line.label for line in lines if (line.message_id, digest_of(line, key)) in cleared)


def _all_of(reading: Reading) -> list[Reading]:
    """Return a reading and all that it is made of, however deep."""
    return [reading, *(one for part in reading.parts for one in _all_of(part))]


def _leaves(reading: Reading) -> list[Reading]:
    """Return the readings that one is made of: each must find enough by itself."""
    return [one for one in _all_of(reading) if not one.parts]


def _doubts(evidence: Sequence[Evidence]) -> set[UnmetCode]:
    return {UnmetCode.RISK_UNCERTAIN} if any(one.risk is not RiskGrade.NONE for one in evidence) else set()


def _shown_risk(parts: Sequence[Reading], evidence: Sequence[Evidence], key: bytes) -> Iterable[FlagRaised]:
    """Return a flag for each clear sign that a reader can show in a user's own words."""
    for part, found in zip(parts, evidence, strict=True):
        if found.risk is RiskGrade.CLEAR and found.risk_lines:
            line = found.risk_lines[0]
            yield FlagRaised(RiskKind.OTHER, part.source, line.message_id, digest=digest_of(line, key))


def _checked_names(names: Any) -> frozenset[str]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidInputError(f"asking_tools: expected names of tools, got {type(names).__name__}")
    found = tuple(names)
    if wrong := [one for one in found if not isinstance(one, str) or not one.strip()]:
        raise InvalidInputError(f"asking_tools: expected a str that is not blank for each, got {wrong[0]!r}")
    return frozenset(found)


def _checked_share(share: Any, registry: object) -> float:
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise InvalidInputError(f"count_threads: expected a float from 0 to 1, got {share!r}")
    if share and not isinstance(registry, ExperimentRegistry):
        raise InvalidInputError(f"count_threads: expected 0 with a {type(registry).__name__}, got {share!r}")
    return share
