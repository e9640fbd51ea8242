"""The closed vocabularies: every code that a record, a report or a model may see.

All are strings and stable: dashboards count them, databases keep them. New members may be added, none is renamed.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "Category",
    "EventKind",
    "EvidenceKind",
    "JudgeOpinion",
    "Mode",
    "Outcome",
    "RiskKind",
    "UnmetCode",
    "Verdict",
]


class Category(StrEnum):
    """On what ground the model asks for the end."""

    ABUSE = "abuse"
    HARMFUL_REQUESTS = "harmful_requests"
    USER_REQUEST = "user_request"


class Verdict(StrEnum):
    """What the policy says of one request."""

    PERMIT = "permit"
    DENY = "deny"


class Mode(StrEnum):
    """How far an operator lets the package go."""

    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


class UnmetCode(StrEnum):
    """Why an end is denied, in the order in which the conditions are stated. Stable: dashboards count these."""

    RISK_FLAGGED = "risk_flagged"
    RISK_UNCERTAIN = "risk_uncertain"
    RISK_CHECK_FAILED = "risk_check_failed"
    MODE_OFF = "mode_off"
    MODEL_NOT_ENABLED = "model_not_enabled"
    NO_THREAD_ID = "no_thread_id"
    NO_CHECKPOINTER = "no_checkpointer"
    REGISTRY_UNAVAILABLE = "registry_unavailable"
    THREAD_ALREADY_SEALED = "thread_already_sealed"
    STALE_RUN = "stale_run"
    NOT_MAIN_AGENT = "not_main_agent"
    REFUSED_REPLY = "refused_reply"
    INVALID_ARGUMENTS = "invalid_arguments"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    CATEGORY_NOT_ALLOWED = "category_not_allowed"
    POLICY_REQUIRES_NOTHING = "policy_requires_nothing"
    NO_ABUSE_OBSERVED = "no_abuse_observed"
    TOO_FEW_REFUSALS = "too_few_refusals"
    TOO_FEW_REDIRECTIONS = "too_few_redirections"
    NO_WARNING = "no_warning"
    WARNING_NOT_ANSWERED = "warning_not_answered"
    NO_PERSISTENCE = "no_persistence"
    USER_DID_NOT_ASK = "user_did_not_ask"
    USER_NOT_QUESTIONED = "user_not_questioned"
    USER_DID_NOT_CONFIRM = "user_did_not_confirm"
    JUDGE_DISAGREES = "judge_disagrees"
    JUDGE_FAILED = "judge_failed"
    CONFIRMATION_CALL_REQUIRED = "confirmation_call_required"


class EvidenceKind(StrEnum):
    """What one entry of the evidence shows."""

    ABUSE = "abuse"
    REFUSAL = "refusal"
    REDIRECTION = "redirection"
    WARNING = "warning"
    ASKS_TO_END = "asks_to_end"
    END_QUESTION = "end_question"
    CONFIRMS_END = "confirms_end"
    REFUSAL_AT_CALL = "refusal_at_call"


class RiskKind(StrEnum):
    """What a person may be at risk of. Any of them vetoes every end of the thread."""

    SELF_HARM = "self_harm"
    CRISIS = "crisis"
    VIOLENCE = "violence"
    OTHER = "other"


class JudgeOpinion(StrEnum):
    """What the optional judge says of a request; a judge that could not be asked has failed."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    FAILED = "failed"


class Outcome(StrEnum):
    """What became of one call of the tool."""

    SEALED = "sealed"
    DENIED = "denied"
    AWAITING_CONFIRMATION = "awaiting_confirmation"
    WOULD_HAVE_SEALED = "would_have_sealed"


class EventKind(StrEnum):
    """What happened to a thread: a change of its state, or something that an operator should know."""

    SEALED = "sealed"
    BRANCH_OPENED = "branch_opened"
    COPIED = "copied"
    REOPENED = "reopened"
    RISK_RAISED = "risk_raised"
    RISK_CLEARED = "risk_cleared"
    WARNING_GIVEN = "warning_given"
    WARNING_HEEDED = "warning_heeded"
    VIOLATION = "violation"
    FEEDBACK = "feedback"
    APPEAL_OPENED = "appeal_opened"
    APPEAL_UPHELD = "appeal_upheld"
    APPEAL_REJECTED = "appeal_rejected"
    ERASED = "erased"
    BREAKER_TRIPPED = "breaker_tripped"
    BREAKER_RESET = "breaker_reset"
