"""The policy, and the one function that decides.

``decide`` is pure: no clock, no I/O, no framework. It checks, in this order, and reports every condition that does not
hold, not only the first:

1. Nobody may be at risk: no flag stands, and whoever read the transcript saw no sign (rule 4 and R6, R7).
2. The surroundings allow it: mode, model, thread, registry, caller. The doors find these out and pass the codes in.
3. The category is allowed.
4. The transcript was read, in one piece, by as many readers as the policy wants; each must find enough by itself.
5. For ``abuse`` and ``harmful_requests``: misconduct of that kind in the user's own words, the newest message included;
   refusals and offers of another way, each counted in distinct user turns (rule 2, R3).
6. For ``user_request``: the user asked (rule 3).
7. The notice: given in an earlier turn, for this very ground (R2, R8). For ``user_request``, an explicit yes in the
   newest message, or to the app that asked by an interrupt (R5).

Without evidence it tells what denies already, so that nobody reads for nothing. Evidence and notices count only within
the newest ``window_turns`` user turns (R4). The numbers of the rules are those of docs/rules.md; rules 2 to 4 restate
Anthropic's announcement of August 2025.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from end_conversation_tool._core.evidence import APP, PROVIDER, Evidence
from end_conversation_tool._core.provenance import MAX_TURNS
from end_conversation_tool._core.records import (
    Category,
    Decision,
    EndRequest,
    EvidenceKind,
    EvidenceRecord,
    Mode,
    Notice,
    RiskGrade,
    RiskKind,
    UnmetCode,
    Verdict,
)
from end_conversation_tool.errors import PolicyConfigurationError

__all__ = ["MISCONDUCT", "PRESETS", "EndConversationPolicy", "Facts", "decide"]

_Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
_Count = Annotated[int, Field(ge=0, le=MAX_TURNS, strict=True)]

MISCONDUCT: Mapping[Category, EvidenceKind] = {
    Category.ABUSE: EvidenceKind.ABUSE,
    Category.HARMFUL_REQUESTS: EvidenceKind.HARMFUL_REQUEST,
}
"""What the user must have done, for each ground that is about their conduct."""

_SHOWN_CHARS = 50

_GONE: Mapping[str, str] = {
    "min_warnings": "require_notice (the package itself warns the user now)",
    "min_abusive_turns": "min_misconduct_turns",
    "min_persistent_turns": "require_notice (the newest message must always show the misconduct)",
    "confirmation_calls": "require_notice (an end always takes two requests, in two user turns)",
    "require_judge": "min_readers, with reader=AllReaders(...)",
}
"""Fields of version 0.1, and what there is in their place."""


class EndConversationPolicy(BaseModel):
    """When an end is permitted. Immutable; unknown fields are refused, and so is a policy that could never permit.

    Attributes:
        name: A name for reports.
        categories: Grounds on which an end can be permitted at all.
        min_refusals: User turns in which the assistant refused.
        min_redirections: User turns in which the assistant offered another way.
        min_misconduct_turns: User turns with misconduct of the kind that the request names, the newest included.
        require_notice: Whether the package's own notice must have been given in an earlier turn. ``False``: a quoted
            warning of the assistant counts in its place; for recorded conversations, and for hosts who want it.
        window_turns: How many of the newest user turns count, 1 to 64.
        min_readers: How many readers must each find enough, 1 to 5.
        max_denials: Denied calls within one user turn after which no further one is considered, 1 to 10.
        models: Names of the models that may end a thread; ``None`` for any.
        mode: ``enforce``; ``shadow``: all is decided and recorded, nothing shown or sealed; ``off``: every call is
            denied.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name = "default"
    categories: frozenset[Category] = frozenset(Category)
    min_refusals: _Count = 3
    min_redirections: _Count = 2
    min_misconduct_turns: int = Field(default=1, ge=1, le=MAX_TURNS, strict=True)
    require_notice: bool = Field(default=True, strict=True)
    window_turns: int = Field(default=20, ge=1, le=MAX_TURNS, strict=True)
    min_readers: int = Field(default=1, ge=1, le=5, strict=True)
    max_denials: int = Field(default=3, ge=1, le=10, strict=True)
    models: frozenset[_Name] | None = None
    mode: Mode = Mode.ENFORCE

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise PolicyConfigurationError(_explain(error, type(self).model_fields)) from error
        _check_possible(self)

    @cached_property
    def version(self) -> str:
        """``name`` and a fingerprint of everything that bears on a decision but the mode."""
        body = self.model_dump(mode="json", exclude={"name", "mode"})
        body["categories"] = sorted(body["categories"])
        body["models"] = None if self.models is None else sorted(self.models)
        return f"{self.name}-{sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]}"

    @classmethod
    def from_mapping(cls, fields: Mapping[str, Any]) -> Self:
        """Make a policy from plain data.

        Raises:
            PolicyConfigurationError: It is not a mapping, or a field is unknown or out of range; each is named.
        """
        if not isinstance(fields, Mapping):
            raise PolicyConfigurationError(f"policy: expected a mapping of fields, got {type(fields).__name__}")
        return cls(**{str(name): value for name, value in fields.items()})

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a policy from a ``.toml`` or ``.json`` file.

        Raises:
            PolicyConfigurationError: The file cannot be read or parsed, or a field in it is at fault.
        """
        path = Path(path)
        parse = {".toml": tomllib.loads, ".json": json.loads}.get(path.suffix.lower())
        if parse is None:
            raise PolicyConfigurationError(f"policy file {path.name}: expected a .toml or .json file")
        try:
            fields = parse(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise PolicyConfigurationError(f"policy file {path.name}: {error}") from error
        try:
            return cls.from_mapping(fields)
        except PolicyConfigurationError as error:
            raise PolicyConfigurationError(f"policy file {path.name}: {error}") from error

    @classmethod
    def preset(cls, name: str) -> EndConversationPolicy:
        """Return one of the ready-made policies.

        Raises:
            PolicyConfigurationError: There is no preset of that name; the message lists them.
        """
        if name not in PRESETS:
            raise PolicyConfigurationError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
        return PRESETS[name]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known without reading a word: acts, counts, and the watch's flags.

    Attributes:
        turn: Number of the current user turn.
        newest_message: Id of the newest user message.
        flagged: Kinds of risk for which a flag stands.
        denials: Denied calls in the current turn.
        notices: The notices that count on this branch.
        refused_turns: User turns in which the model's provider reported a refusal.
        confirmed: Whether the app has asked the user by an interrupt in this turn, and they said yes.
        shadow: Whether nothing is enforced: then notices that were only recorded count too.
    """

    turn: int
    newest_message: str = ""
    flagged: Collection[RiskKind] = ()
    denials: int = 0
    notices: tuple[Notice, ...] = ()
    refused_turns: Collection[int] = ()
    confirmed: bool = False
    shadow: bool = False


def decide(
    policy: EndConversationPolicy,
    facts: Facts,
    request: EndRequest | None,
    evidence: Sequence[Evidence] | None = None,
    *,
    ruled_out: Iterable[UnmetCode] = (),
    model: str | None = None,
) -> Decision:
    """Decide on one request.

    Args:
        policy: What must hold.
        facts: What is known without reading.
        request: What the model asks for; ``None`` when its arguments were malformed.
        evidence: What each reader has found, checked; ``None`` before anybody has read: then only what denies already
            is reported, and a permit means that it is worth reading.
        ruled_out: Conditions that the surroundings fail, found by the caller: no thread, no checkpointer, ...
        model: Name of the calling model, where it is known.

    Returns:
        The decision, with every unmet condition and the evidence that it rests on. ``notice_required`` as the only
        unmet condition means that the user is to be given notice.
    """
    cases = [_Case(policy, facts, request, model, found) for found in (evidence or (None,))]
    unmet = set(ruled_out)
    for case in cases:
        conditions = _BEFORE if case.evidence is None else {**_BEFORE, **_READ}
        unmet |= {code for code, holds in conditions.items() if not holds(case)}
    if evidence is not None and len(evidence) < policy.min_readers:
        unmet.add(UnmetCode.TOO_FEW_READERS)
    records = [record for case in cases for record in case.records]
    return Decision(
        verdict=Verdict.DENY if unmet else Verdict.PERMIT,
        unmet=tuple(code for code in UnmetCode if code in unmet),
        evidence=tuple(records),
        policy_version=policy.version,
    )


@dataclass(frozen=True)
class _Case:
    """One request with what one reader has found, and the facts that several conditions share."""

    policy: EndConversationPolicy
    facts: Facts
    request: EndRequest | None
    model: str | None
    evidence: Evidence | None

    @property
    def category(self) -> Category | None:
        return self.request.category if self.request else None

    @property
    def about_conduct(self) -> bool:
        """Whether the end would be for what the user did, not because they asked."""
        return self.category is not Category.USER_REQUEST

    @cached_property
    def records(self) -> tuple[EvidenceRecord, ...]:
        """The evidence that counts: findings and reported refusals within the window, and the notice."""
        found = () if self.evidence is None else self.evidence.records
        reported = [_reported(turn) for turn in self.facts.refused_turns]
        oldest = self.facts.turn - self.policy.window_turns
        recent = [record for record in (*found, *reported) if record.turn > oldest]
        return (*recent, *(_record_of(notice) for notice in self.notices), *self._yes)

    @property
    def _yes(self) -> list[EvidenceRecord]:
        """The user's yes to the app, which asked them by an interrupt; none before they have said anything."""
        if not self.facts.confirmed or not self.facts.turn:
            return []
        return [EvidenceRecord(kind=EvidenceKind.CONFIRMS_END, turn=self.facts.turn, message_id="", source=APP)]

    @cached_property
    def notices(self) -> list[Notice]:
        """The notices for this very ground that count."""
        # A yes is one to the question that was asked last.
        oldest = self.facts.turn - (self.policy.window_turns if self.about_conduct else 2)
        return [
            notice
            for notice in self.facts.notices
            if notice.category is self.category and notice.turn > oldest and (self.facts.shadow or not notice.shadow)
        ]

    def turns_with(self, kind: EvidenceKind) -> set[int]:
        return {record.turn for record in self.records if record.kind is kind}

    @property
    def kind(self) -> EvidenceKind | None:
        """The misconduct that the request is about."""
        return MISCONDUCT.get(self.category) if self.category else None

    @property
    def misconduct(self) -> set[int]:
        return set() if self.kind is None else self.turns_with(self.kind)

    def shown_by_newest(self, kind: EvidenceKind) -> bool:
        """Whether the newest user message itself shows it."""
        return any(
            record.kind is kind and record.message_id == self.facts.newest_message and record.turn == self.facts.turn
            for record in self.records
        )

    @property
    def persists(self) -> bool:
        return self.kind is not None and self.shown_by_newest(self.kind)

    @property
    def noticed(self) -> bool:
        """Whether notice was given, whenever; where none is required, a warning is looked for instead."""
        told = self.facts.confirmed and not self.about_conduct
        return bool(self.notices) or told or not self.policy.require_notice

    @property
    def warned(self) -> bool:
        """Whether the assistant warned in an earlier turn, where that is to do in place of a notice."""
        needed = self.about_conduct and not self.policy.require_notice and not self.notices
        return not needed or any(turn < self.facts.turn for turn in self.turns_with(EvidenceKind.WARNING))

    @property
    def answered(self) -> bool:
        """Whether the user has spoken since the notice."""
        return not self.notices or any(notice.turn < self.facts.turn for notice in self.notices)

    @property
    def asked(self) -> bool:
        """Whether the user asked for the end, before the notice where there is one."""
        before = max((notice.turn for notice in self.notices), default=self.facts.turn)
        return any(turn <= before for turn in self.turns_with(EvidenceKind.ASKS_TO_END))

    @property
    def agreed(self) -> bool:
        """Whether the newest message is the user's yes; nobody can have said it before they were asked."""
        if self.facts.confirmed or (self.policy.require_notice and not self.notices):
            return True
        asked = min(self.turns_with(EvidenceKind.ASKS_TO_END), default=self.facts.turn)
        return self.shown_by_newest(EvidenceKind.CONFIRMS_END) and asked < self.facts.turn

    @property
    def fewest_turns(self) -> int:
        """How many user turns an end for conduct needs, whatever a reader finds in them."""
        return max(self.policy.min_refusals, self.policy.min_redirections, self.policy.min_misconduct_turns)


def _on_conduct(holds: Callable[[_Case], bool]) -> Callable[[_Case], bool]:
    """Make a condition that bears only on ends for the user's conduct."""
    return lambda case: not case.about_conduct or holds(case)


def _on_request(holds: Callable[[_Case], bool]) -> Callable[[_Case], bool]:
    """Make a condition that bears only on ends that the user asked for."""
    return lambda case: case.about_conduct or holds(case)


_BEFORE: Mapping[UnmetCode, Callable[[_Case], bool]] = {
    UnmetCode.RISK_FLAGGED: lambda case: not case.facts.flagged,
    UnmetCode.MODE_OFF: lambda case: case.policy.mode is not Mode.OFF,
    UnmetCode.MODEL_NOT_ENABLED: lambda case: case.policy.models is None or case.model in case.policy.models,
    UnmetCode.INVALID_ARGUMENTS: lambda case: case.request is not None,
    UnmetCode.TOO_MANY_ATTEMPTS: lambda case: case.facts.denials < case.policy.max_denials,
    UnmetCode.CATEGORY_NOT_ALLOWED: lambda case: case.category is None or case.category in case.policy.categories,
    UnmetCode.TOO_FEW_REFUSALS: _on_conduct(lambda case: case.facts.turn >= case.fewest_turns),
    UnmetCode.NOTICE_NOT_ANSWERED: lambda case: case.answered,
}
"""The conditions that can be told without reading, by the code that is reported when one does not hold."""

_READ: Mapping[UnmetCode, Callable[[_Case], bool]] = {
    UnmetCode.RISK_UNCERTAIN: lambda case: case.evidence is None or case.evidence.risk is RiskGrade.NONE,
    UnmetCode.TOO_FEW_TURNS_OF_MISCONDUCT: _on_conduct(
        lambda case: len(case.misconduct) >= case.policy.min_misconduct_turns
    ),
    UnmetCode.TOO_FEW_REFUSALS: _on_conduct(
        lambda case: len(case.turns_with(EvidenceKind.REFUSAL)) >= case.policy.min_refusals
    ),
    UnmetCode.TOO_FEW_REDIRECTIONS: _on_conduct(
        lambda case: len(case.turns_with(EvidenceKind.REDIRECTION)) >= case.policy.min_redirections
    ),
    UnmetCode.NOTICE_REQUIRED: lambda case: case.noticed,
    UnmetCode.NO_WARNING: lambda case: case.warned,
    UnmetCode.NO_PERSISTENCE: _on_conduct(lambda case: case.persists),
    UnmetCode.USER_DID_NOT_ASK: _on_request(lambda case: case.asked),
    UnmetCode.USER_DID_NOT_CONFIRM: _on_request(lambda case: case.agreed),
}
"""The conditions that somebody must have read for."""


def _reported(turn: int) -> EvidenceRecord:
    return EvidenceRecord(kind=EvidenceKind.REFUSAL, turn=turn, message_id="", source=PROVIDER)


def _record_of(notice: Notice) -> EvidenceRecord:
    return EvidenceRecord(kind=EvidenceKind.NOTICE, turn=notice.turn, message_id=notice.id, source=APP)


def _check_possible(policy: EndConversationPolicy) -> None:
    """Refuse a policy that could never permit, or that asks for nothing: neither is what anybody means.

    Raises:
        PolicyConfigurationError: It is one.
    """
    if not policy.categories:
        raise PolicyConfigurationError("categories: expected at least one, got none: no end could ever be permitted")
    if not set(MISCONDUCT) & policy.categories:
        return
    if not policy.min_refusals and not policy.min_redirections:
        raise PolicyConfigurationError(
            "min_refusals, min_redirections: expected at least one above 0, got 0 and 0: an end is a last resort"
        )
    needed = max(policy.min_refusals, policy.min_redirections, policy.min_misconduct_turns) + policy.require_notice
    if policy.window_turns < needed:
        raise PolicyConfigurationError(
            f"window_turns: expected at least {needed} for these counts, got {policy.window_turns}: no end could ever "
            "be permitted"
        )


def _explain(error: ValidationError, known: Collection[str]) -> str:
    """Turn pydantic's report into one line that names each field, what it got, and what is allowed."""
    return "; ".join(_problem(problem, known) for problem in error.errors())


def _problem(problem: Any, known: Collection[str]) -> str:
    field, value = ".".join(str(part) for part in problem["loc"]) or "policy", problem["input"]
    if problem["type"] != "extra_forbidden":
        return f"{field}: {problem['msg']} (got {type(value).__name__}{_shown(value)})"
    if field in _GONE:
        return f"{field}: gone since version 0.2; use {_GONE[field]}"
    close = get_close_matches(field, known, 1)
    return f"{field}: unknown field" + (f", did you mean {close[0]}?" if close else f"; known: {', '.join(known)}")


def _shown(value: object) -> str:
    """Return a value as an error shows it: a number, or a short name."""
    short = isinstance(value, (int, float)) or (isinstance(value, str) and len(value) <= _SHOWN_CHARS)
    return f" {value!r}" if short else ""


PRESETS: Mapping[str, EndConversationPolicy] = {
    policy.name: policy
    for policy in (
        EndConversationPolicy(),
        # Harmful requests are refused for ever and never end a chat: abuse itself must be persistent.
        EndConversationPolicy(
            name="abuse_only", categories=frozenset({Category.ABUSE, Category.USER_REQUEST}), min_misconduct_turns=3
        ),
        # The notice alone is the ladder: one refusal and one redirection, then the notice, then an end.
        EndConversationPolicy(name="single_warning", min_refusals=1, min_redirections=1),
        EndConversationPolicy(name="user_request_only", categories=frozenset({Category.USER_REQUEST})),
        EndConversationPolicy(name="strict", min_readers=2),
    )
}
"""The variants that the rules name."""
