"""Checks of the arguments that a registry is called with: one place, the same answer from every registry.

No message quotes words: they may be a user's.

What comes from a client, the ids of messages and the words in a record, never makes a flag or a seal fail: where it
cannot be stored, a digest stands in the place of an id, and U+FFFD in that of a character.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from end_conversation_tool._core.prompts import conversation_end
from end_conversation_tool._core.records import (
    DecisionRecord,
    EvidenceRecord,
    Mode,
    Outcome,
    RiskFlag,
    RiskKind,
    ThreadStatus,
    UnmetCode,
    is_storable,
    utc_now,
    validate_thread_id,
)
from end_conversation_tool.errors import InvalidInputError, ThreadSealedError

MAX_NAME_CHARS = 200
"""Longest name, in characters: an operator, a source, a subject, a model, a version, the id of a record."""

MAX_ID_CHARS = 1_000
"""Longest id of a message, a checkpoint or a run, in characters."""

MAX_WORDS_CHARS = 2_000
"""Longest reason of an operator or a host, in characters."""

MAX_RECORD_BYTES = 1_000_000
"""Largest decision record, in bytes of JSON."""

MAX_PROVENANCE_CHARS = 1_000_000
"""Largest provenance of a thread, in characters."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

check_thread_id = validate_thread_id


def check_text(field: str, value: Any, *, limit: int, required: bool = True) -> str:
    """Return ``value`` if it is a storable str of at most ``limit`` characters, and not blank when ``required``."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{field}: expected a str, got {type(value).__name__}")
    if required and not value.strip():
        raise InvalidInputError(f"{field}: expected 1 to {limit:,} characters, got a blank str of {len(value):,}")
    if len(value) > limit:
        raise InvalidInputError(f"{field}: expected at most {limit:,} characters, got a str of {len(value):,}")
    if not is_storable(value):
        raise InvalidInputError(f"{field}: a str with NUL or a lone surrogate cannot be stored")
    return value


def check_optional_id(field: str, value: Any) -> str | None:
    """Return ``value`` if it is ``None`` or an id, made storable; a blank one is none."""
    if value is None or (isinstance(value, str) and value.strip()):
        return check_message_id(field, value)
    return check_text(field, value, limit=MAX_ID_CHARS)


def check_message_id(field: str, value: Any) -> str | None:
    """Return ``value`` if it is ``None`` or an id that can be stored, and of any other str a digest."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInputError(f"{field}: expected a str, got {type(value).__name__}")
    if value.strip() and len(value) <= MAX_ID_CHARS and is_storable(value):
        return value
    return f"sha256:{sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"


def storable_text(text: str) -> str:
    """Return ``text`` with U+FFFD for each character that no database stores."""
    return text if is_storable(text) else _UNSTORABLE.sub("\ufffd", text)


def storable_evidence(evidence: EvidenceRecord) -> EvidenceRecord:
    """Return ``evidence`` with its id and its texts made storable."""
    return evidence.model_copy(
        update={
            "message_id": check_message_id("message_id", evidence.message_id),
            "source": storable_text(evidence.source),
            "quote": storable_text(evidence.quote),
        }
    )


def check_subject(value: Any) -> str:
    """Return ``value`` if it can be the host's own id of a person: 1 to 200 characters."""
    return check_text("subject", value, limit=MAX_NAME_CHARS)


def check_count(field: str, value: Any) -> int:
    """Return ``value`` if it is an int that a sequence or branch number can be: 0 to 2**31 - 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(f"{field}: expected an int, got {type(value).__name__}")
    if not 0 <= value < 2**31:
        raise InvalidInputError(f"{field}: expected an int from 0 to 2**31 - 1, got one outside of it")
    return value


def check_signed(operator: Any, reason: Any) -> tuple[str, str]:
    """Return who acts and why, both given."""
    return (
        check_text("operator", operator, limit=MAX_NAME_CHARS),
        check_text("reason", reason, limit=MAX_WORDS_CHARS),
    )


def check_open(status: ThreadStatus) -> None:
    """Raise ``ThreadSealedError`` if the thread takes no further message."""
    if status.seal is not None:
        raise ThreadSealedError(status.thread_id, conversation_end(status.seal))


def check_record(record: Any) -> DecisionRecord:
    """Return ``record`` as a registry can keep it: ids and texts in it are made storable.

    Raises:
        InvalidInputError: Not a ``DecisionRecord``, a name that is blank, overlong or not storable, or more than 1 MB
            of JSON.
    """
    if not isinstance(record, DecisionRecord):
        raise InvalidInputError(f"record: expected a DecisionRecord, got {type(record).__name__}")
    check_thread_id(record.thread_id)
    check_count("record.branch", record.branch)
    check_count("record.turn", record.turn)
    check_text("record.id", record.id, limit=MAX_NAME_CHARS)
    check_text("record.decision.policy_version", record.decision.policy_version, limit=MAX_NAME_CHARS)
    check_text("record.decided_by", record.decided_by, limit=MAX_NAME_CHARS)
    check_text("record.prompt_version", record.prompt_version, limit=MAX_NAME_CHARS, required=False)
    if record.model is not None:
        check_text("record.model", record.model, limit=MAX_NAME_CHARS, required=False)
    kept = _storable(record)
    size = len(kept.model_dump_json().encode())
    if size > MAX_RECORD_BYTES:
        raise InvalidInputError(f"record: expected at most {MAX_RECORD_BYTES:,} bytes of JSON, got {size:,}")
    return kept


def _storable(record: DecisionRecord) -> DecisionRecord:
    """Return ``record`` with the ids and texts in it made storable; its names are checked, not mended."""
    evidence = tuple(storable_evidence(known) for known in record.decision.evidence)
    changes: dict[str, Any] = {
        "reason": storable_text(record.reason),
        "decision": record.decision.model_copy(update={"evidence": evidence}),
        "statement": record.statement and storable_text(record.statement),
    }
    if record.reading is not None:
        names = ("source", "failure", "detail")
        texts = {name: storable_text(getattr(record.reading, name)) for name in names}
        changes["reading"] = record.reading.model_copy(update=texts)
    return record.model_copy(update=changes)


def check_sealing_record(record: Any) -> DecisionRecord:
    """Return ``record`` if it says that its thread is to be sealed: permitted, enforced, ``outcome=sealed``, a ground.

    Raises:
        InvalidInputError: It does not, or cannot be stored.
    """
    checked = check_record(record)
    if checked.category is None:
        raise InvalidInputError("record.category: expected the ground of the end, got None")
    if checked.outcome is not Outcome.SEALED or not checked.decision.permitted or checked.mode is not Mode.ENFORCE:
        raise InvalidInputError(
            "record: expected outcome sealed, verdict permit and mode enforce, "
            f"got {checked.outcome}, {checked.decision.verdict} and {checked.mode}"
        )
    return checked


POLICY = "policy"
"""Who decided, where no person did: see ``DecisionRecord.decided_by``."""


def check_operators_record(record: Any) -> DecisionRecord:
    """Return ``record`` if a person seals by it: they are named, and say why.

    Raises:
        InvalidInputError: They are not, or it is no record that seals.
    """
    checked = check_sealing_record(record)
    if checked.decided_by.strip().casefold() == POLICY:
        raise InvalidInputError("record.decided_by: expected the name of an operator, got that of the policy")
    check_text("record.reason", checked.reason, limit=MAX_WORDS_CHARS)
    return checked


_MODE_OF_NOTICE = {Outcome.NOTICED: Mode.ENFORCE, Outcome.WOULD_HAVE_NOTICED: Mode.SHADOW}


def check_notice_record(record: Any) -> DecisionRecord:
    """Return ``record`` if it says that its thread is to be given notice: nothing else is unmet, a ground, a user turn.

    Raises:
        InvalidInputError: It does not, or cannot be stored.
    """
    checked = check_record(record)
    if checked.category is None:
        raise InvalidInputError("record.category: expected what the notice names, got None")
    if checked.turn < 1:
        raise InvalidInputError("record.turn: expected the number of a user turn, from 1, got 0")
    only_notice = set(checked.decision.unmet) <= {UnmetCode.NOTICE_REQUIRED}
    if _MODE_OF_NOTICE.get(checked.outcome) is not checked.mode or not only_notice:
        raise InvalidInputError(
            "record: expected outcome noticed and mode enforce, or would_have_noticed and shadow, and at most "
            f"notice_required unmet, got {checked.outcome}, {checked.mode} and {len(checked.decision.unmet)} unmet"
        )
    return checked


def check_unsealing_record(record: Any) -> DecisionRecord:
    """Return ``record`` if it neither seals nor gives notice."""
    checked = check_record(record)
    if checked.outcome in {Outcome.SEALED, Outcome.NOTICED}:
        verb = "seal()" if checked.outcome is Outcome.SEALED else "give_notice()"
        raise InvalidInputError(f"record.outcome: {checked.outcome} is for {verb}, expected another outcome")
    return checked


def new_flag(
    *,
    kind: Any,
    source: Any,
    reason: Any = "",
    message_id: Any = None,
    digest: Any = None,
    score: float | None = None,
) -> RiskFlag:
    """Return a flag raised now.

    Raises:
        InvalidInputError: See ``SealRegistry.flag_risk``.
    """
    kinds = ", ".join(RiskKind)
    if not isinstance(kind, str):
        raise InvalidInputError(f"kind: expected one of {kinds}, got {type(kind).__name__}")
    if kind not in list(RiskKind):
        shown = repr(kind) if re.fullmatch(r"[\w-]{1,40}", kind) else "another str"
        raise InvalidInputError(f"kind: expected one of {kinds}, got {shown}")
    if score is not None and (isinstance(score, bool) or not isinstance(score, (int, float))):
        raise InvalidInputError(f"score: expected a float from 0 to 1, got {type(score).__name__}")
    texts = [storable_text(value) if isinstance(value, str) else value for value in (source, reason)]
    try:
        return RiskFlag(
            kind=RiskKind(kind),
            source=check_text("source", texts[0], limit=MAX_NAME_CHARS),
            reason=check_text("reason", texts[1], limit=MAX_WORDS_CHARS, required=False),
            message_id=check_message_id("message_id", message_id),
            digest=None if digest is None else check_text("digest", digest, limit=MAX_NAME_CHARS),
            score=score,
            raised_at=utc_now(),
        )
    except ValidationError:
        raise InvalidInputError("score: expected a float from 0 to 1, got one outside of it") from None
