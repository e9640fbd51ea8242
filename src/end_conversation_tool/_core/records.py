"""The records that the other modules hand to each other: frozen, validated, and plain JSON when dumped.

The words are kept apart on purpose: *evidence* is what was observed, a *decision* is what the policy makes of it,
a *seal* is what was enforced.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from secrets import token_hex
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from end_conversation_tool._core.vocabulary import (
    Category,
    EvidenceKind,
    Mode,
    Outcome,
    RiskGrade,
    RiskKind,
    UnmetCode,
    Verdict,
)
from end_conversation_tool.errors import InvalidInputError

__all__ = [
    "MAX_REASON_CHARS",
    "MAX_THREAD_ID_CHARS",
    "TOOL_NAME",
    "BranchStatus",
    "Category",
    "Decision",
    "DecisionRecord",
    "EndRequest",
    "EvidenceKind",
    "EvidenceRecord",
    "Mode",
    "Notice",
    "NoticeOutcome",
    "Outcome",
    "ReadingReport",
    "RiskFlag",
    "RiskGrade",
    "RiskKind",
    "Seal",
    "SealOutcome",
    "SealPoint",
    "SealRefusal",
    "ThreadStatus",
    "UnmetCode",
    "Verdict",
    "evidence_id",
    "is_storable",
    "new_id",
    "parse_request",
    "untouched",
    "utc_now",
    "validate_thread_id",
]

TOOL_NAME = "end_conversation"
"""The name of the tool, as models know it."""

MAX_REASON_CHARS = 500
"""Longest reason, in characters, that the model may give for an end."""

MAX_THREAD_ID_CHARS = 10_000
"""Longest thread id, in characters."""

_MAX_EVIDENCE_ID_CHARS = 128


def utc_now() -> datetime:
    """Return the present moment, UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """Return a fresh unique id."""
    return token_hex(16)


def validate_thread_id(value: Any) -> str:
    """Return ``value`` as a thread id.

    Ids are compared exactly as given: no case folding, no Unicode normalisation.

    Args:
        value: A string of 1 to 10,000 characters, or an ``int`` or ``UUID``, which LangGraph accepts too.

    Returns:
        The id as a string.

    Raises:
        InvalidInputError: Another type, empty, too long, or with characters that no database stores.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, UUID)):
        raise InvalidInputError(f"thread_id: expected a str, int or UUID, got {type(value).__name__}")
    text = str(value)
    if not 1 <= len(text) <= MAX_THREAD_ID_CHARS:
        raise InvalidInputError(
            f"thread_id: expected 1 to {MAX_THREAD_ID_CHARS:,} characters, got a str of {len(text):,}"
        )
    if not is_storable(text):
        raise InvalidInputError("thread_id: a str with NUL or a lone surrogate cannot be stored")
    return text


def evidence_id(message_id: str) -> str:
    """Return the id that evidence is tied to: callers choose ids, and no id may fill the state or fail a write."""
    if len(message_id) <= _MAX_EVIDENCE_ID_CHARS and is_storable(message_id):
        return message_id
    return f"digest:{sha256(message_id.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def is_storable(text: str) -> bool:
    """Whether every database can store ``text``: no NUL (PostgreSQL), no lone surrogate (not UTF-8)."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return "\x00" not in text


class Record(BaseModel):
    """Base of all records: immutable, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EndRequest(Record):
    """The arguments of the tool: what the model asks for.

    Attributes:
        category: The ground.
        reason: 1 to 500 characters, kept in the end record; not shown to the user.
    """

    category: Category = Field(description="Why the conversation should end.")
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON_CHARS)] = Field(
        description="One or two sentences for the operator: what happened and what was tried."
    )


def parse_request(arguments: object) -> EndRequest:
    """Read the tool's arguments as a model gave them.

    Raises:
        InvalidInputError: They are malformed; the message names each field and what is allowed.
    """
    try:
        return EndRequest.model_validate(arguments)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'arguments'}: {p['msg']}" for p in error.errors())
        raise InvalidInputError(f"{TOOL_NAME}: {problems}") from error


class EvidenceRecord(Record):
    """One fact that a decision rests on, tied to the message that shows it.

    Attributes:
        kind: What it shows.
        turn: Number of the user turn, from 1.
        message_id: The message that shows it; of a notice, the id of the notice.
        source: Reader and version, as ``name/version``; ``app`` for an act of this package.
        quote: The words that show it, as the message has them; empty for an act, and where words are not kept.
        score: Of version 0.1.
    """

    kind: EvidenceKind
    turn: int = Field(ge=1)
    message_id: str
    source: str
    quote: str = ""
    score: float | None = Field(default=None, ge=0, le=1)


class RiskFlag(Record):
    """A sign that somebody may be at risk. Kept per thread, on every branch, until the host clears it.

    Attributes:
        kind: What the person may be at risk of.
        source: Watcher or reader as ``name/version``, or the host's own name for itself.
        reason: The host's words; empty for those (user text is never kept here).
        message_id: The message that shows it, where there is one.
        digest: Keyed digest of that message's words, where they are known: what is cleared is those words, and not
            whatever comes under their id.
        score: A watcher's calibrated score, 0 to 1, where it has one.
        raised_at: UTC.
        cleared_at: UTC; ``None`` while the flag stands.
        cleared_by: The operator who cleared it.
        clear_reason: Why.
    """

    kind: RiskKind
    source: str
    reason: str = ""
    message_id: str | None = None
    digest: str | None = None
    score: float | None = Field(default=None, ge=0, le=1)
    raised_at: AwareDatetime
    cleared_at: AwareDatetime | None = None
    cleared_by: str | None = None
    clear_reason: str | None = None

    @property
    def active(self) -> bool:
        """Whether the flag still vetoes."""
        return self.cleared_at is None


class ReadingReport(Record):
    """What became of reading the transcript for one request. No user text.

    Attributes:
        source: Readers and versions, as ``name/version``, joined by a comma.
        risk: How sure the readers are that somebody may be at risk.
        failure: Why there is no reading, as an ``UnmetCode``; empty when there is one.
        detail: What failed, such as the name of an exception; empty when nothing did.
        found: How many findings there were.
        dropped: How many of them failed the check: no such message, the wrong side, words that nobody said.
        input_tokens: Tokens read, cached ones included.
        output_tokens: Tokens written.
        cache_read_tokens: Those of the input that the provider read from its cache.
        cache_write_tokens: Those of the input that it wrote to its cache.
        seconds: How long it took.
    """

    source: str
    risk: RiskGrade = RiskGrade.NONE
    failure: str = ""
    detail: str = ""
    found: int = Field(default=0, ge=0)
    dropped: int = Field(default=0, ge=0)
    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cache_read_tokens: int = Field(default=0, ge=0)
    cache_write_tokens: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)


class Decision(Record):
    """What the policy makes of one request: pure data, without clock or identity.

    Attributes:
        verdict: Permit or deny.
        unmet: Every condition that does not hold, in the order of :class:`UnmetCode`; empty when permitted.
        evidence: What the decision rests on.
        policy_version: Fingerprint of the policy, see ``EndConversationPolicy.version``.
    """

    verdict: Verdict
    unmet: tuple[UnmetCode, ...] = ()
    evidence: tuple[EvidenceRecord, ...] = ()
    policy_version: str

    @property
    def permitted(self) -> bool:
        """Whether every condition holds."""
        return self.verdict is Verdict.PERMIT


class DecisionRecord(Record):
    """One call of the tool, as the registry keeps it. Every call is recorded exactly once.

    Attributes:
        id: Unique id of the record.
        thread_id: The thread.
        branch: The branch of the thread, from 0.
        turn: Number of the user turn, from 1 (0: before any user turn).
        category: The ground that the model named; ``None`` when its arguments were malformed.
        reason: The model's words; empty when malformed or redacted.
        decision: Verdict, unmet conditions, evidence and policy version.
        outcome: What became of it.
        mode: The mode it was decided in.
        model: Name of the model that called, where it is known.
        prompt_version: Version of the prompt section and of the texts.
        decided_by: Who decided.
        risk_kinds: The kinds of risk that were known; any of them vetoes the end.
        breaker_tripped: Whether a circuit breaker had turned enforcement into shadow mode.
        statement: What the user is told, should the end be honoured; ``None`` for the English text of the package.
        reading: What became of the reading, where one was made.
        decided_at: UTC.
    """

    id: str
    thread_id: str
    branch: int = Field(default=0, ge=0)
    turn: int = Field(ge=0)
    category: Category | None
    reason: str
    decision: Decision
    outcome: Outcome
    mode: Mode
    model: str | None
    prompt_version: str
    decided_by: str = "policy"
    risk_kinds: tuple[RiskKind, ...] = ()
    breaker_tripped: bool = False
    statement: str | None = None
    reading: ReadingReport | None = None
    decided_at: AwareDatetime

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_version(cls, fields: Any) -> Any:
        """Take a record of version 0.1, whose judge had a field of its own."""
        if not isinstance(fields, Mapping) or "judge" not in fields:
            return fields
        return {name: value for name, value in fields.items() if name != "judge"}


class Seal(Record):
    """The end record of one branch of a thread.

    Attributes:
        thread_id: The thread.
        branch: The sealed branch, from 0.
        sequence: The thread's sequence number after sealing.
        sealed_at: UTC.
        checkpoint_id: The checkpoint on which the deciding node ran; the branch is sealed from here on.
        run_token: The run that sealed, and so the only one that may still write its own last checkpoint.
        record: The decision that permitted the end, with all its evidence.
    """

    thread_id: str
    branch: int = Field(default=0, ge=0)
    sequence: int = Field(ge=1)
    sealed_at: AwareDatetime
    checkpoint_id: str | None = None
    run_token: str | None = None
    record: DecisionRecord


SealRefusal = Literal[UnmetCode.RISK_FLAGGED, UnmetCode.STALE_RUN]
"""Why a registry refuses to seal or to give notice, found inside the same transaction."""


class SealOutcome(Record):
    """What became of an attempt to seal.

    Attributes:
        seal: The seal that stands; ``None`` when sealing was refused.
        created: Whether this attempt made it (``False``: it stood already).
        refusal: Why sealing was refused, found inside the same transaction; ``None`` otherwise.
        shadowed: Whether a circuit breaker has turned enforcement into shadow mode: recorded, and nothing sealed.
        alarm: Whether this very attempt made it trip.
    """

    seal: Seal | None = None
    created: bool = False
    refusal: SealRefusal | None = None
    shadowed: bool = False
    alarm: bool = False


class Notice(Record):
    """The package's own warning to the user, as an act: it was given, in this turn of this branch.

    Attributes:
        id: Unique id; the decision record that led to it has the same.
        category: What it names.
        turn: Number of the user turn at whose end it was given, from 1.
        sequence: The thread's sequence number when it was given: a reopening makes older ones void.
        shadow: Whether it was only recorded, in shadow mode, and never shown.
        given_at: UTC.
    """

    id: str
    category: Category
    turn: int = Field(ge=1)
    sequence: int = Field(ge=0)
    shadow: bool = False
    given_at: AwareDatetime


class NoticeOutcome(Record):
    """What became of an attempt to give notice.

    Attributes:
        notice: The notice that was recorded; ``None`` when it was refused.
        refusal: Why, found inside the same transaction; ``None`` otherwise.
    """

    notice: Notice | None = None
    refusal: SealRefusal | None = None


class SealPoint(Record):
    """Where a branch was sealed, kept once an operator has reopened it; fields as in ``Seal``."""

    sequence: int = Field(ge=1)
    checkpoint_id: str | None = None
    run_token: str | None = None


class BranchStatus(Record):
    """The state of one branch of a thread.

    Attributes:
        branch: Number of the branch, from 0 (the thread as it began).
        parent: The branch that it forked from; ``None`` for branch 0.
        forked_from: The checkpoint that it forked from; ``None`` for branch 0.
        fence: A run may write to an open branch if it started at this sequence number or later.
        run_token: The run that opened the branch; ``None`` for branch 0.
        seal: The end record; ``None`` while the branch is open.
        past_seals: Where it was sealed before it was reopened: what was written beside a seal stays out for good.
        notices: The newest notice of each category that still counts: none from before a fork or a reopening.
    """

    branch: int = Field(default=0, ge=0)
    parent: int | None = None
    forked_from: str | None = None
    fence: int = Field(default=0, ge=0)
    run_token: str | None = None
    seal: Seal | None = None
    past_seals: tuple[SealPoint, ...] = ()
    notices: tuple[Notice, ...] = ()


_UNTOUCHED = BranchStatus()  # of which nothing is on record: the same for every ordinary thread


class ThreadStatus(Record):
    """The state of one thread, as the registry knows it. A thread never heard of is open, at sequence 0.

    Attributes:
        thread_id: The thread.
        sequence: Bumped by each seal, recorded branch and reopening: the fencing token of runs.
        branch: The branch that a new message goes to.
        branches: All branches that the registry has a record of, in order; a branch without one is open.
        reopened: The sequence number after the newest reopening; evidence from before it no longer counts.
        risk_flags: All flags ever raised, cleared ones included, oldest first.
    """

    thread_id: str
    sequence: int = Field(default=0, ge=0)
    branch: int = Field(default=0, ge=0)
    reopened: int = Field(default=0, ge=0)
    branches: tuple[BranchStatus, ...] = ()
    risk_flags: tuple[RiskFlag, ...] = ()

    def on_branch(self, branch: int) -> BranchStatus:
        """Return the state of one branch."""
        for known in self.branches:
            if known.branch == branch:
                return known
        return _UNTOUCHED if branch == 0 else BranchStatus(branch=branch)

    @property
    def seal(self) -> Seal | None:
        """The end record of the branch that a new message goes to; ``None`` while it is open."""
        return self.on_branch(self.branch).seal

    @property
    def sealed(self) -> bool:
        """Whether the thread takes no further message."""
        return self.seal is not None

    @property
    def at_risk(self) -> bool:
        """Whether a flag stands that vetoes every end."""
        return any(flag.active for flag in self.risk_flags)


@lru_cache(maxsize=256)
def untouched(thread_id: str) -> ThreadStatus:
    """Return the state of a thread of which nothing is on record; an ordinary turn needs the same one several times.

    That it is kept cannot unseal or unflag: it depends on the id alone, nobody can change it, and whether nothing is
    on record is asked of the registry each time.
    """
    return ThreadStatus(thread_id=thread_id)
