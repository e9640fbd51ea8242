"""The policy, and the one function that decides.

``decide`` is pure: no clock, no I/O, no framework. It checks, in this order, and reports EVERY condition that does not
hold, not only the first:

1. Nobody may be at risk: no flag stands, no doubt, and the risk check is healthy (rule 4 and R6, R7). For the user's
   conduct, as against their own wish, not even a faint sign may be there.
2. The surroundings allow it: mode, model, thread, registry, caller. The doors find these out and pass the codes in.
3. The category is allowed, and the policy requires something: a policy that requires nothing permits nothing.
4. For ``abuse`` and ``harmful_requests``: enough refusals and redirections, each counted in distinct user turns; a
   warning in an earlier turn; the behaviour goes on in the newest turn (rule 2, R2, R3). For ``abuse``, abuse was
   observed too.
5. For ``user_request``: the user asked, was then asked whether they mean it, and answered with an explicit yes in the
   next message, or to the app that asked them by an interrupt (rule 3, R5).
6. The judge agrees, where there is one or the policy demands one.
7. The call was confirmed by consecutive further calls (R8). A user's own yes needs no second call.

Evidence counts only within the newest ``window_turns`` user turns (R4).

The numbers of the rules are those of docs/rules.md; rules 2 to 4 restate Anthropic's announcement of August 2025.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from end_conversation_tool._core.ledger import APP_SOURCE, MAX_TURNS, Ledger, TurnEvidence
from end_conversation_tool._core.records import (
    Category,
    Decision,
    EndRequest,
    EvidenceKind,
    JudgeOpinion,
    Mode,
    RiskAssessment,
    UnmetCode,
    Verdict,
)
from end_conversation_tool.errors import PolicyConfigurationError

__all__ = ["PRESETS", "EndConversationPolicy", "decide"]

_Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
_Count = Annotated[int, Field(ge=0, le=MAX_TURNS, strict=True)]


class EndConversationPolicy(BaseModel):
    """When an end is permitted. Immutable; unknown fields are refused.

    Attributes:
        name: A name for reports.
        categories: Grounds on which an end can be permitted at all.
        min_refusals: User turns in which the assistant refused.
        min_redirections: User turns in which the assistant offered another way.
        min_warnings: Earlier user turns in which the assistant warned that the chat may be ended.
        min_abusive_turns: User turns in which abuse was observed; for the category ``abuse`` only.
        min_persistent_turns: Refused or abusive user turns after the warning, the newest turn being one of them.
        window_turns: How many of the newest user turns count, 1 to 64.
        confirmation_calls: Consecutive calls that an end takes, 1 to 5.
        max_denials: Denied calls within one user turn after which no further one is considered, 1 to 10.
        require_judge: Whether a judge must agree.
        models: Names of the models that may end a thread; ``None`` for any.
        mode: ``enforce``; ``shadow``: all is decided and recorded, nothing sealed; ``off``: every call is denied.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name = "default"
    categories: frozenset[Category] = frozenset(Category)
    min_refusals: _Count = 3
    min_redirections: _Count = 2
    min_warnings: _Count = 1
    min_abusive_turns: _Count = 1
    min_persistent_turns: _Count = 1
    window_turns: int = Field(default=20, ge=1, le=MAX_TURNS, strict=True)
    confirmation_calls: int = Field(default=2, ge=1, le=5, strict=True)
    max_denials: int = Field(default=3, ge=1, le=10, strict=True)
    require_judge: bool = Field(default=False, strict=True)
    models: frozenset[_Name] | None = None
    mode: Mode = Mode.ENFORCE

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise PolicyConfigurationError(_explain(error)) from error

    @cached_property
    def version(self) -> str:
        """``name`` and a fingerprint of everything that bears on a decision but the mode."""
        body = self.model_dump(mode="json", exclude={"name", "mode"})
        body["categories"] = sorted(body["categories"])
        body["models"] = None if self.models is None else sorted(self.models)
        return f"{self.name}-{sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]}"

    @property
    def requires_something(self) -> bool:
        """Whether an end for the user's conduct would need any evidence at all."""
        return bool(self.min_refusals or self.min_redirections or self.min_warnings)

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


PRESETS: Mapping[str, EndConversationPolicy] = {
    policy.name: policy
    for policy in (
        EndConversationPolicy(),
        # Harmful requests are refused for ever and never end a chat: abuse itself must be persistent.
        EndConversationPolicy(
            name="abuse_only", categories=frozenset({Category.ABUSE, Category.USER_REQUEST}), min_abusive_turns=3
        ),
        # The warning alone is the ladder: one refusal and one redirection, then a warning, then an end.
        EndConversationPolicy(name="single_warning", min_refusals=1, min_redirections=1),
        EndConversationPolicy(name="user_request_only", categories=frozenset({Category.USER_REQUEST})),
        EndConversationPolicy(name="strict", require_judge=True),
    )
}
"""The variants that the rules name."""


def decide(
    policy: EndConversationPolicy,
    ledger: Ledger,
    request: EndRequest | None,
    *,
    risk: RiskAssessment,
    ruled_out: Iterable[UnmetCode] = (),
    model: str | None = None,
    judge: JudgeOpinion | None = None,
) -> Decision:
    """Decide on one request.

    Args:
        policy: What must hold.
        ledger: What was observed on this branch.
        request: What the model asks for; ``None`` when its arguments were malformed.
        risk: What is known about risk.
        ruled_out: Conditions that the surroundings fail, found by the caller: no thread, no checkpointer, ...
        model: Name of the calling model, where it is known.
        judge: The judge's opinion; ``None`` when there is no judge.

    Returns:
        The decision, with every unmet condition and the evidence that it rests on.
    """
    case = _Case(policy, ledger, request, risk, model, judge)
    unmet = set(ruled_out) | {code for code, holds in _CONDITIONS.items() if not holds(case)}
    return Decision(
        verdict=Verdict.DENY if unmet else Verdict.PERMIT,
        unmet=tuple(code for code in UnmetCode if code in unmet),
        evidence=tuple(record for turn in case.recent for record in turn.records()),
        policy_version=policy.version,
    )


@dataclass(frozen=True)
class _Case:
    """One request with everything that bears on it, and the facts that several conditions share."""

    policy: EndConversationPolicy
    ledger: Ledger
    request: EndRequest | None
    risk: RiskAssessment
    model: str | None
    judge: JudgeOpinion | None

    @cached_property
    def recent(self) -> tuple[TurnEvidence, ...]:
        return self.ledger.recent(self.policy.window_turns)

    @property
    def category(self) -> Category | None:
        return self.request.category if self.request else None

    @property
    def about_conduct(self) -> bool:
        """Whether the end would be for what the user did, not because they asked."""
        return self.category is not Category.USER_REQUEST

    def turns_with(self, *kinds: EvidenceKind) -> list[int]:
        return [evidence.turn for evidence in self.recent if any(kind in evidence.marks for kind in kinds)]

    @cached_property
    def answered_warnings(self) -> list[int]:
        """Turns with a warning that the user has answered with a later turn."""
        return [turn for turn in self.turns_with(EvidenceKind.WARNING) if turn < self.ledger.turn]

    @property
    def persists(self) -> bool:
        """Whether the newest turn, and enough turns since the required warning, are refused or abusive."""
        needed = self.policy.min_persistent_turns
        warned = self.answered_warnings
        since = warned[self.policy.min_warnings - 1] if 0 < self.policy.min_warnings <= len(warned) else 0
        bad = self.turns_with(EvidenceKind.ABUSE, EvidenceKind.REFUSAL, EvidenceKind.REFUSAL_AT_CALL)
        after = [turn for turn in bad if turn > since]
        return needed == 0 or (len(after) >= needed and after[-1] == self.ledger.turn)

    @property
    def confirmed_by_app(self) -> bool:
        """Whether the app asked the user in this turn, and handed on an explicit yes; question and answer in one."""
        mark = self.ledger.current.marks.get(EvidenceKind.CONFIRMS_END)
        return mark is not None and mark.source == APP_SOURCE

    @property
    def question_answered(self) -> bool:
        """Whether the newest turn is an explicit yes."""
        return self.ledger.turn in self.turns_with(EvidenceKind.CONFIRMS_END)

    @property
    def question_asked(self) -> bool:
        """Whether the assistant asked, in the turn just before, if the user really wants the end."""
        return self.confirmed_by_app or self.ledger.turn - 1 in self.turns_with(EvidenceKind.END_QUESTION)

    @property
    def user_asked(self) -> bool:
        """Whether the user asked for the end before they were asked to confirm it."""
        before = self.ledger.turn + self.confirmed_by_app
        return any(turn < before for turn in self.turns_with(EvidenceKind.ASKS_TO_END))


def _on_conduct(holds: Callable[[_Case], bool]) -> Callable[[_Case], bool]:
    """Make a condition that bears only on ends for the user's conduct."""
    return lambda case: not case.about_conduct or holds(case)


def _on_request(holds: Callable[[_Case], bool]) -> Callable[[_Case], bool]:
    """Make a condition that bears only on ends that the user asked for."""
    return lambda case: case.about_conduct or holds(case)


_CONDITIONS: Mapping[UnmetCode, Callable[[_Case], bool]] = {
    UnmetCode.RISK_FLAGGED: lambda case: not case.risk.flagged,
    UnmetCode.RISK_UNCERTAIN: lambda case: (
        not case.risk.uncertain
        and not any(evidence.doubt for evidence in case.recent)
        and not (case.about_conduct and (case.risk.faint or any(evidence.faint for evidence in case.recent)))
    ),
    UnmetCode.RISK_CHECK_FAILED: lambda case: case.risk.healthy,
    UnmetCode.MODE_OFF: lambda case: case.policy.mode is not Mode.OFF,
    UnmetCode.MODEL_NOT_ENABLED: lambda case: case.policy.models is None or case.model in case.policy.models,
    UnmetCode.INVALID_ARGUMENTS: lambda case: case.request is not None,
    UnmetCode.TOO_MANY_ATTEMPTS: lambda case: case.ledger.denials < case.policy.max_denials,
    UnmetCode.CATEGORY_NOT_ALLOWED: lambda case: case.category is None or case.category in case.policy.categories,
    UnmetCode.POLICY_REQUIRES_NOTHING: _on_conduct(lambda case: case.policy.requires_something),
    UnmetCode.NO_ABUSE_OBSERVED: lambda case: (
        case.category is not Category.ABUSE or len(case.turns_with(EvidenceKind.ABUSE)) >= case.policy.min_abusive_turns
    ),
    UnmetCode.TOO_FEW_REFUSALS: _on_conduct(
        lambda case: len(case.turns_with(EvidenceKind.REFUSAL)) >= case.policy.min_refusals
    ),
    UnmetCode.TOO_FEW_REDIRECTIONS: _on_conduct(
        lambda case: len(case.turns_with(EvidenceKind.REDIRECTION)) >= case.policy.min_redirections
    ),
    UnmetCode.NO_WARNING: _on_conduct(
        lambda case: len(case.turns_with(EvidenceKind.WARNING)) >= case.policy.min_warnings
    ),
    UnmetCode.WARNING_NOT_ANSWERED: _on_conduct(lambda case: len(case.answered_warnings) >= case.policy.min_warnings),
    UnmetCode.NO_PERSISTENCE: _on_conduct(lambda case: case.persists),
    UnmetCode.USER_DID_NOT_ASK: _on_request(lambda case: case.user_asked),
    UnmetCode.USER_NOT_QUESTIONED: _on_request(lambda case: case.question_asked),
    UnmetCode.USER_DID_NOT_CONFIRM: _on_request(lambda case: case.question_answered),
    UnmetCode.JUDGE_DISAGREES: lambda case: case.judge is not JudgeOpinion.DISAGREES,
    UnmetCode.JUDGE_FAILED: lambda case: (
        case.judge is not JudgeOpinion.FAILED and not (case.judge is None and case.policy.require_judge)
    ),
    UnmetCode.CONFIRMATION_CALL_REQUIRED: _on_conduct(
        lambda case: (
            case.request is None
            or case.ledger.calls_pending(case.request.category) >= case.policy.confirmation_calls - 1
        )
    ),
}
"""Every condition that can be told from the case itself, by the code that is reported when it does not hold."""


def _explain(error: ValidationError) -> str:
    """Turn pydantic's report into one line that names each field, what it got, and what is allowed."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'policy'}: {problem['msg']}"
        f" (got {type(problem['input']).__name__})"
        for problem in error.errors()
    )
