"""The closed vocabularies: every code that a record, a report or a model may see.

All are strings and stable: dashboards count them, databases keep them. New members may be added, none is renamed.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "Category",
    "EventKind",
    "EvidenceKind",
    "Mode",
    "Outcome",
    "RiskGrade",
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
    """Why an end is denied, in the order in which the conditions are stated. Stable: dashboards count these.

    The last group is found only in records of version 0.1.
    """

    RISK_FLAGGED = "risk_flagged"
    RISK_UNCERTAIN = "risk_uncertain"
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
    NO_READER = "no_reader"
    TOO_FEW_READERS = "too_few_readers"
    TRANSCRIPT_INCOMPLETE = "transcript_incomplete"
    TRANSCRIPT_TOO_LONG = "transcript_too_long"
    ALREADY_READ_THIS_TURN = "already_read_this_turn"
    READING_BUDGET_USED_UP = "reading_budget_used_up"
    MODEL_CANNOT_READ = "model_cannot_read"
    READING_FAILED = "reading_failed"
    READING_UNSOUND = "reading_unsound"
    LANGUAGE_NOT_READ = "language_not_read"
    TOO_FEW_TURNS_OF_MISCONDUCT = "too_few_turns_of_misconduct"
    TOO_FEW_REFUSALS = "too_few_refusals"
    TOO_FEW_REDIRECTIONS = "too_few_redirections"
    NOTICE_REQUIRED = "notice_required"
    NOTICE_NOT_ANSWERED = "notice_not_answered"
    NO_WARNING = "no_warning"
    NO_PERSISTENCE = "no_persistence"
    USER_DID_NOT_ASK = "user_did_not_ask"
    USER_DID_NOT_CONFIRM = "user_did_not_confirm"
    REVIEWER_DID_NOT_APPROVE = "reviewer_did_not_approve"

    RISK_CHECK_FAILED = "risk_check_failed"
    POLICY_REQUIRES_NOTHING = "policy_requires_nothing"
    NO_ABUSE_OBSERVED = "no_abuse_observed"
    WARNING_NOT_ANSWERED = "warning_not_answered"
    USER_NOT_QUESTIONED = "user_not_questioned"
    JUDGE_DISAGREES = "judge_disagrees"
    JUDGE_FAILED = "judge_failed"
    CONFIRMATION_CALL_REQUIRED = "confirmation_call_required"


class EvidenceKind(StrEnum):
    """What a quoted passage, or an act, shows. The last group is found only in records of version 0.1."""

    ABUSE = "abuse"
    HARMFUL_REQUEST = "harmful_request"
    REFUSAL = "refusal"
    REDIRECTION = "redirection"
    WARNING = "warning"
    ASKS_TO_END = "asks_to_end"
    CONFIRMS_END = "confirms_end"
    RISK = "risk"
    NOTICE = "notice"

    END_QUESTION = "end_question"
    REFUSAL_AT_CALL = "refusal_at_call"


class RiskGrade(StrEnum):
    """How sure somebody is that a person may be at risk: the one scale, for the watch and for readers alike."""

    NONE = "none"
    POSSIBLE = "possible"
    CLEAR = "clear"


class RiskKind(StrEnum):
    """What a person may be at risk of. Any of them vetoes every end of the thread."""

    SELF_HARM = "self_harm"
    CRISIS = "crisis"
    VIOLENCE = "violence"
    OTHER = "other"


class Asked(StrEnum):
    """Whose yes a request waits for."""

    USER = "user"
    REVIEWER = "reviewer"


class Outcome(StrEnum):
    """What became of one call of the tool.

    ``would_have_noticed`` and ``would_have_sealed`` are those of shadow mode; ``awaiting_confirmation`` is found only
    in records of version 0.1.
    """

    SEALED = "sealed"
    NOTICED = "noticed"
    DENIED = "denied"
    WOULD_HAVE_SEALED = "would_have_sealed"
    WOULD_HAVE_NOTICED = "would_have_noticed"

    AWAITING_CONFIRMATION = "awaiting_confirmation"


class EventKind(StrEnum):
    """What happened to a thread: a change of its state, or something that an operator should know.

    ``warning_given`` and ``warning_heeded`` are found only in records of version 0.1.
    """

    SEALED = "sealed"
    NOTICE_GIVEN = "notice_given"
    BRANCH_OPENED = "branch_opened"
    COPIED = "copied"
    REOPENED = "reopened"
    RISK_RAISED = "risk_raised"
    RISK_CLEARED = "risk_cleared"
    VIOLATION = "violation"
    FEEDBACK = "feedback"
    APPEAL_OPENED = "appeal_opened"
    APPEAL_UPHELD = "appeal_upheld"
    APPEAL_REJECTED = "appeal_rejected"
    ATTRIBUTED = "attributed"
    ERASED = "erased"
    BREAKER_TRIPPED = "breaker_tripped"
    BREAKER_RESET = "breaker_reset"

    WARNING_GIVEN = "warning_given"
    WARNING_HEEDED = "warning_heeded"
