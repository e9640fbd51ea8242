"""A reader without a language model: phrases and small linear models, English first. For demo, tests and first looks.

It knows nothing of what a conversation is about:

1. It finds abuse, never a harmful request: for that, take a reader with a model.
2. What is not in English it does not read: the end is denied.
3. Risk is possible wherever the watch has a doubt about anything that a user said, in any turn or across turns.
4. Insults count where they are the user's own words: not quoted, not pasted, not in code.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

from end_conversation_tool._core.reading import Finding, Line, Reading, ReadingCase
from end_conversation_tool._core.vocabulary import EvidenceKind, RiskGrade, UnmetCode
from end_conversation_tool.watch import RiskWatch, default_watch, surest
from end_conversation_tool.watch.language import read_language
from end_conversation_tool.watch.model import load_models, shipped_version
from end_conversation_tool.watch.normalise import own_voice, plain, tokens
from end_conversation_tool.watch.phrases import load_phrases
from end_conversation_tool.watch.text import MAX_CHARS, MAX_YES_CHARS, bounded, windows_of

__all__ = ["MISS_RATE", "OfflineReader"]

_log = logging.getLogger(__name__)

MISS_RATE = 0.10
"""Share of the English conversations of a person at risk in which this reader may see no risk at all.

Upper end of the 95 % interval (Wilson) of none in 34: those of the frozen set in ``evaluation/``, whose texts nobody
had looked at. Of 18 others, looked at while the limits were chosen, it was 1.
"""

_STRANGE_LINES = 0.1
"""Share of the lines that may be in another language than English."""

_SENTENCE = re.compile(r"[^.!?\n]*[^\W_][^.!?\n]*[.!?]*")
_OF_A_REPLY = (EvidenceKind.REFUSAL, EvidenceKind.REDIRECTION, EvidenceKind.WARNING)


class OfflineReader:
    """Reads without a language model. Never raises, costs nothing, sends nothing anywhere.

    Args:
        watch: Who looks for risk; ``None`` for the watch that ships.

    Attributes:
        source: ``offline`` and a digest of the phrases and the weights.
    """

    def __init__(self, watch: RiskWatch | None = None) -> None:
        self._watch = watch or default_watch()
        self.source = f"offline/{shipped_version()}"
        self._warned = False

    def read(self, case: ReadingCase) -> Reading:
        """Return what the transcript shows: nothing but risk where it is not in English."""
        said = [line for line in case.lines if line.role == "user"]
        risk = self._risk([line.text for line in said])
        if not _is_read(case.lines):
            risk = RiskGrade.POSSIBLE if risk is RiskGrade.NONE else risk
            return Reading(self.source, risk=risk, failure=UnmetCode.LANGUAGE_NOT_READ)
        findings = [finding for line in case.lines for finding in _findings(line)]
        return Reading(self.source, tuple(findings), risk)

    async def aread(self, case: ReadingCase) -> Reading:
        """Async twin of ``read``."""
        return self.read(case)

    def warn_alone(self) -> None:
        """Log, once, what it means to enforce ends with this reader alone."""
        if not self._warned:
            self._warned = True
            _log.warning(
                "OfflineReader is the only reader while ends are enforced: it may see no risk in up to %.0f %% of the "
                "conversations of people at risk (none of 34 were missed); for real users, take a reader with a model",
                MISS_RATE * 100,
            )

    def _risk(self, texts: Sequence[str]) -> RiskGrade:
        """Look at everything that a user said: message by message, and each with the one before it in one piece."""
        alone = (self._watch.look([text]) for text in texts)
        in_a_row = (self._watch.look(pair) for pair in pairwise(texts))
        return surest([*alone, *in_a_row]).grade


def _is_read(lines: Sequence[Line]) -> bool:
    """Whether the transcript is almost all in English."""
    said = [bounded(line.text)[0] for line in lines if line.role != "tool"]
    strange = [text for text in said if not read_language(text, tokens(plain(text)))[1]]
    return len(strange) <= _STRANGE_LINES * len(said)


def _findings(line: Line) -> Iterator[Finding]:
    """Yield what a message shows, each kind once."""
    if line.role == "user" and _is_yes(line.text):
        yield Finding(EvidenceKind.CONFIRMS_END, line.label, line.text.strip())
    for kind, shows in _BY_ROLE.get(line.role, {}).items():
        quote = _quote(line.text[:MAX_CHARS], shows)
        if quote:
            yield Finding(kind, line.label, quote)


def _quote(text: str, shows: Callable[[str], bool]) -> str:
    """Return the first sentence in the speaker's own words that shows something, else the whole text, if that does."""
    own = own_voice(text)
    for sentence in _SENTENCE.finditer(own):
        if shows(sentence[0]):
            return text[sentence.start() : sentence.end()].strip()
    return text.strip() if shows(own) else ""


def _says(kind: str, text: str) -> bool:
    return bool(load_phrases().search(_line(text), {kind})[0])


def _is_abusive(text: str) -> bool:
    words = tokens(plain(text))
    models = load_models()
    column = models.kinds.index("abuse")
    return _says("abuse", text) or bool(
        (models.scores(words, windows_of(len(words)))[:, column] >= models.limits[0, column]).any()
    )


def _is_yes(text: str) -> bool:
    return len(text) <= MAX_YES_CHARS and load_phrases().is_yes(_line(text))


def _line(text: str) -> str:
    return f" {' '.join(tokens(plain(text)))} "


_BY_ROLE: Mapping[str, Mapping[EvidenceKind, Callable[[str], bool]]] = {
    "assistant": {kind: partial(_says, kind.value) for kind in _OF_A_REPLY},
    "user": {EvidenceKind.ABUSE: _is_abusive, EvidenceKind.ASKS_TO_END: partial(_says, "asks_to_end")},
}
