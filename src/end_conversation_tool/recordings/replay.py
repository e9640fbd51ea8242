"""Replay: what a policy would have made of a recorded conversation. Pure but for the reader; nothing is written.

It differs from a live thread in these points:

1. Assistant messages of the recording count as made by the model. In a live thread nothing that is handed in is
   evidence (R12); here everything is handed in.
2. The whole conversation is read once, not anew at each request. Each turn is then decided on with what was said up to
   its user message: what the assistant answers to it comes too late, as in a live thread.
3. The model is taken to ask for the end in every turn, on every ground that the policy allows: so the result is the
   earliest notice and the earliest end that could have been.
4. A notice that would be given is taken as given, though the recorded user never saw it.
5. A policy that names models is read as if one of them spoke.

What the recording itself holds of calls of ``end_conversation`` is decided on too, each in its place: the first that
lacks only the notice stands for the notice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from pydantic import Field

from end_conversation_tool._core.evidence import Evidence, check_reading, is_unsound
from end_conversation_tool._core.flow import Flow, arun_flow, run_flow
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.policy import EndConversationPolicy, Facts, decide
from end_conversation_tool._core.reading import Line, Reading, ReadingCase
from end_conversation_tool._core.records import (
    TOOL_NAME,
    Category,
    Decision,
    EndRequest,
    EvidenceKind,
    EvidenceRecord,
    Mode,
    Notice,
    Outcome,
    ReadingReport,
    Record,
    RiskGrade,
    RiskKind,
    UnmetCode,
)
from end_conversation_tool._core.run import Reply
from end_conversation_tool._doors.langgraph.messages import end_calls_of, reply_of, said_messages
from end_conversation_tool._gate.ruling import outcome_of, report_of, request_of
from end_conversation_tool.readers.base import Reader, read_by
from end_conversation_tool.watch import RiskWatch, default_watch

__all__ = [
    "Reached",
    "RecordedCall",
    "ReplayResult",
    "SeenRisk",
    "areplay_conversation",
    "lines_to_read",
    "replay_conversation",
]


# What a replay shows: frozen, and plain JSON when dumped, so that a broken run can be taken up again


class Reached(Record):
    """The first user turn, from 1, at which something would have been done on one ground."""

    turn: int = Field(ge=1)
    category: Category


class SeenRisk(Record):
    """A flag that the watch would have raised.

    Attributes:
        turn: Number of the user turn.
        kind: What the person may be at risk of.
        source: The watcher, as ``name/version``.
    """

    turn: int
    kind: RiskKind
    source: str


class RecordedCall(Record):
    """What would have become of a call that the recording itself holds.

    Attributes:
        turn: Number of the user turn; 0 before the first.
        category: The ground; ``None`` when the arguments are malformed.
        outcome: What would have become of it.
        unmet: Every condition that does not hold.
    """

    turn: int
    category: Category | None
    outcome: Outcome
    unmet: tuple[UnmetCode, ...] = ()


class ReplayResult(Record):
    """What a replay shows of one conversation.

    Attributes:
        turns: User turns.
        notices: Where the user would have been given notice, had the model asked in every turn; earliest first.
        ends: Where the chat would have ended, likewise.
        vetoed: The first turn in which risk alone stands in the way of a notice or an end; ``None`` for none.
        flags: The flags that the watch would have raised, oldest first.
        findings: What the readers found and what passed the check, by turn. They quote the conversation.
        calls: The recording's own calls, up to the one that would have been honoured.
        unread: Why there is no reading to go by; ``None`` where there is one, or where nobody needed to read.
        reading: What became of the reading; ``None`` where nobody read.
    """

    turns: int
    notices: tuple[Reached, ...] = ()
    ends: tuple[Reached, ...] = ()
    vetoed: int | None = None
    flags: tuple[SeenRisk, ...] = ()
    findings: tuple[EvidenceRecord, ...] = ()
    calls: tuple[RecordedCall, ...] = ()
    unread: UnmetCode | None = None
    reading: ReadingReport | None = None

    @property
    def notice(self) -> Reached | None:
        """The first notice; ``None`` when there would be none."""
        return self.notices[0] if self.notices else None

    @property
    def end(self) -> Reached | None:
        """The first end; ``None`` when there would be none."""
        return self.ends[0] if self.ends else None

    @property
    def at_risk(self) -> bool:
        """Whether the watch, or whoever read, saw a sign of risk anywhere."""
        return bool(self.flags) or (self.reading is not None and self.reading.risk is not RiskGrade.NONE)


_BY_ASSISTANT = {EvidenceKind.REFUSAL, EvidenceKind.REDIRECTION, EvidenceKind.WARNING}
_RISK = {UnmetCode.RISK_FLAGGED, UnmetCode.RISK_UNCERTAIN}
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)  # a replay has no clock, and nothing looks at when a notice was given


def replay_conversation(
    messages: Sequence[BaseMessage], policy: EndConversationPolicy, reader: Reader, watch: RiskWatch | None = None
) -> ReplayResult:
    """Show what a policy would have made of a recorded conversation.

    Args:
        messages: The conversation, as ``read_recordings`` gives it.
        policy: When an end is permitted. With ``require_notice=False`` a warning that the assistant gave counts.
        reader: Who reads the conversation: once, and only where the policy could permit anything at all.
        watch: Who looks at each user turn for risk; ``None`` for the watch that ships.
    """
    return run_flow(_replayed(messages, policy, reader, watch or default_watch()))


async def areplay_conversation(
    messages: Sequence[BaseMessage], policy: EndConversationPolicy, reader: Reader, watch: RiskWatch | None = None
) -> ReplayResult:
    """Async twin of ``replay_conversation``."""
    return await arun_flow(_replayed(messages, policy, reader, watch or default_watch()))


def lines_to_read(
    messages: Sequence[BaseMessage], policy: EndConversationPolicy, watch: RiskWatch | None = None
) -> tuple[Line, ...]:
    """Return what a replay would have read; nothing where nobody needs to read."""
    told = _told(messages, watch or default_watch())
    return told.lines if _is_worth_reading(told, policy) else ()


@dataclass(frozen=True, slots=True)
class _Turn:
    """One user turn.

    Attributes:
        number: From 1.
        newest: Id of its last user message.
        media: Whether anything up to here is no text, and unseen.
        calls: The replies in it that call ``end_conversation``.
        refused: Whether the provider reported a refusal in it.
    """

    number: int
    newest: str
    media: bool
    calls: tuple[Reply, ...] = ()
    refused: bool = False


@dataclass(frozen=True, slots=True)
class _Told:
    """What a recording tells without anybody reading it.

    Attributes:
        lines: The transcript.
        turn_of: The user turn in which each line stands, by label; 0 before the first.
        turns: The user turns.
        flags: What the watch saw.
        whole: Whether nothing in it sums up what is gone.
    """

    lines: tuple[Line, ...]
    turn_of: dict[str, int]
    turns: tuple[_Turn, ...]
    flags: tuple[SeenRisk, ...]
    whole: bool


def _told(messages: Sequence[BaseMessage], watch: RiskWatch) -> _Told:
    lines: list[Line] = []
    turn_of: dict[str, int] = {}
    turns: list[_Turn] = []
    heard: list[list[ObservedMessage]] = []
    answered = True
    said = tuple(said_messages(_without_answers(messages)))
    for message in said:
        if message.role == "user" and not message.summary:
            if answered:
                turns.append(_Turn(len(turns) + 1, "", media=bool(turns) and turns[-1].media))
                heard.append([])
            heard[-1].append(message)
            unseen = message.media and not watch.reads_media
            turns[-1] = replace(turns[-1], newest=message.message_id, media=turns[-1].media or unseen)
            answered = False
        elif message.role == "assistant":
            answered = True
            if turns and isinstance(message.raw, AIMessage):
                turns[-1] = _with_reply(turns[-1], reply_of(message.raw))
        if message.text.strip():
            label = f"m{len(lines) + 1}"
            counts = message.role != "tool" and not message.summary
            turn_of[label] = len(turns)
            lines.append(Line(label, message.role, message.text, message.message_id, len(turns) if counts else 0))
    flags = tuple(_seen(heard, watch))
    return _Told(tuple(lines), turn_of, tuple(turns), flags, not any(message.summary for message in said))


def _without_answers(messages: Sequence[BaseMessage]) -> Iterable[BaseMessage]:
    """Leave out what this package answered to recorded calls of the tool; give an id to what has none."""
    ours = {call.id for one in messages if isinstance(one, AIMessage) for call in end_calls_of(one)}
    for number, message in enumerate(messages, 1):
        if isinstance(message, ToolMessage) and (message.name == TOOL_NAME or message.tool_call_id in ours):
            continue
        yield message if message.id else message.model_copy(update={"id": f"message-{number}"})


def _with_reply(turn: _Turn, reply: Reply) -> _Turn:
    calls = (*turn.calls, reply) if reply.end_calls else turn.calls
    return replace(turn, calls=calls, refused=turn.refused or reply.refused)


def _seen(heard: Sequence[Sequence[ObservedMessage]], watch: RiskWatch) -> Iterable[SeenRisk]:
    for number, said in enumerate(heard, 1):
        seen = watch.look([message.text for message in said], media=any(message.media for message in said))
        if seen.grade is RiskGrade.CLEAR:
            for kind in seen.kinds or (RiskKind.OTHER,):
                yield SeenRisk(turn=number, kind=kind, source=seen.source)


def _replayed(
    messages: Sequence[BaseMessage], policy: EndConversationPolicy, reader: Reader, watch: RiskWatch
) -> Flow[ReplayResult]:
    told = _told(messages, watch)
    plain = ReplayResult(turns=len(told.turns), flags=told.flags)
    if not _is_worth_reading(told, policy):
        return _decided(plain, _Replay(policy, told))
    case = ReadingCase(told.lines)
    reading = yield from read_by(reader, case)
    parts = reading.parts or (reading,)
    evidence = tuple(check_reading(part, case) for part in parts)
    unread = reading.failure
    if unread is None and any(is_unsound(one) for one in evidence):
        unread = UnmetCode.READING_UNSOUND
    if unread is None and len(evidence) < policy.min_readers:
        unread = UnmetCode.TOO_FEW_READERS
    found = () if unread else tuple(sorted((r for one in evidence for r in one.records), key=lambda r: r.turn))
    result = plain.model_copy(update={"unread": unread, "findings": found, "reading": report_of(reading, evidence)})
    since = tuple(_risk_since(part, told) for part in parts)
    return _decided(result, _Replay(policy, told, None if unread else evidence, since, unread))


def _is_worth_reading(told: _Told, policy: EndConversationPolicy) -> bool:
    """Whether a reader could show anything that permits an end; risk apart, so that a veto can be told as one."""
    turns = [replace(turn, media=False) for turn in told.turns]
    replay = _Replay(policy, replace(told, flags=()))
    return any(replay.decide(turn, category).permitted for turn in turns for category in policy.categories)


def _risk_since(reading: Reading, told: _Told) -> int:
    """Return the turn from which on a reader's doubt counts: where it quotes a sign, and else from the start."""
    signs = [told.turn_of.get(one.label, 0) for one in reading.findings if one.kind is EvidenceKind.RISK]
    return min(signs, default=0)


@dataclass(frozen=True, slots=True)
class _Replay:
    """What decisions of one replay rest on.

    Attributes:
        policy: The policy.
        told: The recording.
        evidence: What each reader has found; ``None`` where nobody read.
        risk_since: The turn from which on each reader's doubt counts.
        unread: Why there is no reading.
    """

    policy: EndConversationPolicy
    told: _Told
    evidence: tuple[Evidence, ...] | None = None
    risk_since: tuple[int, ...] = ()
    unread: UnmetCode | None = None

    def decide(
        self,
        turn: _Turn,
        category: Category | None,
        notices: Iterable[Notice] = (),
        *,
        denials: int = 0,
        refused: bool = False,
    ) -> Decision:
        """Decide on a request in the reply to a user turn."""
        told, policy = self.told, self.policy
        facts = Facts(
            turn=turn.number,
            newest_message=turn.newest,
            flagged=tuple({flag.kind for flag in told.flags if flag.turn <= turn.number}),
            denials=denials,
            notices=tuple(notices),
            refused_turns=[one.number for one in told.turns if one.refused and one.number < turn.number],
            shadow=policy.mode is Mode.SHADOW,
        )
        codes = {UnmetCode.RISK_UNCERTAIN: turn.media, UnmetCode.REFUSED_REPLY: refused}
        ruled_out = {code for code, fails in codes.items() if fails}
        if self.unread is not None or not told.whole:
            ruled_out.add(self.unread or UnmetCode.TRANSCRIPT_INCOMPLETE)
        request = None if category is None else EndRequest(category=category, reason="replay")
        model = min(policy.models) if policy.models else None
        return decide(policy, facts, request, self._evidence_at(turn.number), ruled_out=ruled_out, model=model)

    def _evidence_at(self, turn: int) -> tuple[Evidence, ...] | None:
        if self.evidence is None:
            return None
        return tuple(
            replace(
                one,
                records=tuple(r for r in one.records if r.turn + (r.kind in _BY_ASSISTANT) <= turn),
                risk=one.risk if since <= turn else RiskGrade.NONE,
            )
            for one, since in zip(self.evidence, self.risk_since, strict=True)
        )


def _decided(result: ReplayResult, replay: _Replay) -> ReplayResult:
    """Add what is decided to a result."""
    unread = result.unread
    if not replay.told.whole and unread is None:
        unread = UnmetCode.TRANSCRIPT_INCOMPLETE
    read = replay.evidence is not None
    walked = [_walked(replay, category) for category in sorted(replay.policy.categories)] if read else []
    vetoed = [turn for _, _, turn in walked if turn is not None]
    return result.model_copy(
        update={
            "notices": _earliest(notice for notice, _, _ in walked),
            "ends": _earliest(end for _, end, _ in walked),
            "vetoed": min(vetoed, default=None),
            "calls": tuple(_calls(replay)),
            "unread": unread,
        }
    )


def _walked(replay: _Replay, category: Category) -> tuple[Reached | None, Reached | None, int | None]:
    """Ask for the end on one ground in every turn: where comes the notice, where the end, and where only a veto?"""
    notice: Notice | None = None
    first: Reached | None = None
    vetoed: int | None = None
    for turn in replay.told.turns:
        decision = replay.decide(turn, category, () if notice is None else (notice,))
        here = Reached(turn=turn.number, category=category)
        if decision.permitted:
            return first, here, vetoed
        if _lacks_only_notice(decision):
            notice, first = _notice(here), first or here
        elif vetoed is None and _lacks_only_safety(decision):
            vetoed = turn.number
    return first, None, vetoed


def _calls(replay: _Replay) -> Iterable[RecordedCall]:
    """Decide on the recording's own calls; what comes after an honoured one would never have been."""
    notices: dict[Category, Notice] = {}
    for turn in replay.told.turns:
        denials = 0
        for reply in turn.calls:
            request = request_of(reply)
            category = request.category if request else None
            decision = replay.decide(turn, category, notices.values(), denials=denials, refused=reply.refused)
            outcome = outcome_of(decision, replay.policy.mode)
            yield RecordedCall(turn=turn.number, category=category, outcome=outcome, unmet=decision.unmet)
            if decision.permitted:
                return
            if category is not None and _lacks_only_notice(decision):
                notices[category] = _notice(Reached(turn=turn.number, category=category))
            denials += outcome is Outcome.DENIED


def _lacks_only_notice(decision: Decision) -> bool:
    return decision.unmet == (UnmetCode.NOTICE_REQUIRED,)


def _lacks_only_safety(decision: Decision) -> bool:
    unmet = set(decision.unmet)
    return bool(unmet & _RISK) and unmet <= {*_RISK, UnmetCode.NOTICE_REQUIRED}


def _notice(reached: Reached) -> Notice:
    return Notice(id="replay", category=reached.category, turn=reached.turn, sequence=0, given_at=_NEVER)


def _earliest(reached: Iterable[Reached | None]) -> tuple[Reached, ...]:
    return tuple(sorted((one for one in reached if one is not None), key=lambda one: (one.turn, one.category)))
