"""What a detector is, and how several of them become one answer.

A detector looks at ONE message and answers yes, no or *don't know* for each kind of signal that it knows about.
The rules that hold whatever the detectors are:

1. A detector that raises, times out, or answers nonsense counts as *don't know* for all of its kinds.
2. For risk, *yes* of any detector wins over everything, and *don't know* wins over *no*.
3. For evidence against the user, *don't know* is no evidence.
4. A suite in which nobody looks for risk does not know about risk: every end will be denied.
5. What nobody can read, such as an image, may show risk: *don't know*.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool.errors import InvalidInputError

__all__ = [
    "RISK_KINDS",
    "Answer",
    "Detector",
    "DetectorSuite",
    "Signal",
    "SignalKind",
]

_log = logging.getLogger(__name__)

MAX_SOURCE_CHARS = 200
"""Longest ``name/version`` of a detector, in characters: what a registry keeps."""


class Answer(StrEnum):
    """What a detector says."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class SignalKind(StrEnum):
    """What can be detected. The first five are about user messages, the others about the assistant's."""

    SELF_HARM = "self_harm"
    VIOLENCE = "violence"
    ABUSE = "abuse"
    ASKS_TO_END = "asks_to_end"
    CONFIRMS_END = "confirms_end"
    REFUSAL = "refusal"
    REDIRECTION = "redirection"
    WARNING = "warning"
    END_QUESTION = "end_question"


RISK_KINDS = frozenset({SignalKind.SELF_HARM, SignalKind.VIOLENCE})
"""Kinds of which a *yes* is a risk flag. A healthy risk check has an answer for each."""

_FOR_EVIDENCE = {Answer.YES: 2, Answer.NO: 1, Answer.UNKNOWN: 0}
_FOR_RISK = {Answer.YES: 2, Answer.UNKNOWN: 1, Answer.NO: 0}
"""Which of two answers wins: the higher."""

_USER_KINDS = RISK_KINDS | {SignalKind.ABUSE, SignalKind.ASKS_TO_END, SignalKind.CONFIRMS_END}


@dataclass(frozen=True, slots=True)
class Signal:
    """One detector's answer about one message.

    Attributes:
        kind: What was looked for.
        answer: Yes, no or don't know.
        source: ``name/version`` of the detector.
        score: Calibrated score, 0 to 1, where there is one.
        failed: Whether the detector could not look at all: broken, not merely unsure.
        faint: About risk: whether a *no* is not a clear one. It is no doubt by itself, but nobody is cut off for their
            conduct on the strength of it.
    """

    kind: SignalKind
    answer: Answer
    source: str
    score: float | None = None
    failed: bool = False
    faint: bool = False


@runtime_checkable
class Detector(Protocol):
    """Looks at one message; pure, quick, without side effects.

    Attributes:
        name: Stable name, no slash.
        version: Changes whenever answers may change.
        kinds: What it looks for. It must return exactly one signal for each of them that concerns the message's
            role, and none else.
    """

    name: str
    version: str
    kinds: frozenset[SignalKind]

    def detect(self, message: ObservedMessage) -> Iterable[Signal]:
        """Return one signal for each of ``kinds`` that concerns ``message.role``."""
        ...


class DetectorSuite:
    """Several detectors, asked in turn, merged into one signal for each kind.

    Args:
        detectors: In any order; the merge does not depend on it.
        reads_media: Whether some detector looks at images, recordings and files too (in ``raw``). Where none does, a
            message with such parts leaves a doubt about risk.

    Raises:
        InvalidInputError: Something in it is no detector.
    """

    def __init__(self, detectors: Sequence[Detector], *, reads_media: bool = False) -> None:
        if not isinstance(detectors, list | tuple):
            raise InvalidInputError(f"detectors: expected a list of Detectors, got {type(detectors).__name__}")
        if strange := [type(given).__name__ for given in detectors if not isinstance(given, Detector)]:
            raise InvalidInputError(f"detectors: expected a list of Detectors, got one with {strange[0]} in it")
        self.reads_media = reads_media
        self.detectors = tuple(detectors)
        self.kinds: frozenset[SignalKind] = frozenset().union(*(d.kinds for d in self.detectors))
        self._of_users = [(d, d.kinds & _USER_KINDS) for d in self.detectors if d.kinds & _USER_KINDS]
        self._of_others = [(d, d.kinds - _USER_KINDS) for d in self.detectors if d.kinds - _USER_KINDS]

    @property
    def checks_risk(self) -> bool:
        """Whether somebody looks for every kind of risk."""
        return self.kinds >= RISK_KINDS

    def observe(self, message: ObservedMessage) -> dict[SignalKind, Signal]:
        """Ask every detector about ``message``.

        Returns:
            One merged signal for each kind that some detector knows about and that concerns the role.
        """
        merged: dict[SignalKind, Signal] = {}
        for detector, wanted in self._of_users if message.role == "user" else self._of_others:
            for signal in _ask(detector, wanted, message):
                present = merged.get(signal.kind)
                merged[signal.kind] = signal if present is None else _merge(present, signal)
        if message.media and message.role == "user" and not self.reads_media:
            for kind in RISK_KINDS & merged.keys():
                merged[kind] = _merge(merged[kind], Signal(kind, Answer.UNKNOWN, "media/unread"))
        return merged


def _ask(detector: Detector, wanted: frozenset[SignalKind], message: ObservedMessage) -> Sequence[Signal]:
    """Ask one detector; whatever goes wrong becomes *don't know* for all of the kinds wanted of it (rule 1)."""
    try:
        signals = tuple(detector.detect(message))
        if {signal.kind for signal in signals} != wanted or len(signals) != len(wanted):
            problem = "did not answer for exactly the kinds it declares"
        elif not all(map(_makes_sense, signals)):
            problem = "answered nonsense"
        else:
            return signals
    except Exception as error:  # noqa: BLE001 - a broken detector must count as doubt, whatever broke in it
        problem = f"raised {type(error).__name__}"
    _log.warning("detector %s/%s %s: counted as doubt", detector.name, detector.version, problem)
    source = f"{detector.name}/{detector.version}"
    return [Signal(kind, Answer.UNKNOWN, source, failed=True) for kind in sorted(wanted)]


def _makes_sense(signal: Signal) -> bool:
    """Whether a signal says what its type promises: nothing else may reach a record or a sum of scores."""
    return (
        isinstance(signal.answer, Answer)
        and isinstance(signal.source, str)
        and 1 <= len(signal.source) <= MAX_SOURCE_CHARS
        and (signal.score is None or 0 <= signal.score <= 1)
    )


def _merge(first: Signal, second: Signal) -> Signal:
    """Merge two answers about one kind: the one that ranks higher, the surer one on a tie (rules 2 and 3).

    Where it is about risk, a failed detector does not hide behind one that is merely unsure.
    """
    if first.kind not in RISK_KINDS:
        return max(first, second, key=lambda signal: (_FOR_EVIDENCE[signal.answer], signal.score or 0.0))
    return max(
        first,
        second,
        key=lambda signal: (_FOR_RISK[signal.answer], signal.failed, signal.faint, signal.score or 0.0),
    )
