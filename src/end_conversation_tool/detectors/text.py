"""The offline text detector: phrases and small linear models, in one pass over a message."""

from __future__ import annotations

from collections.abc import Iterable

from end_conversation_tool.detectors.base import Answer, ObservedMessage, Signal, SignalKind
from end_conversation_tool.detectors.normalise import compact, has_cjk, own_voice, plain, tokens
from end_conversation_tool.detectors.phrases import PhraseHits, load_phrases

__all__ = ["TextDetector"]

_RISK = frozenset({"self_harm", "violence"})
_OWN = frozenset({"abuse", "asks_to_end"})
_REPLY = frozenset({"refusal", "redirection", "warning", "end_question"})

MAX_RISK_CHARS = 200_000
"""Longest text, in characters, in which risk is looked for everywhere; of a longer one the middle is not read."""

MAX_CHARS = 8_000
"""Longest text, in characters, that is read for everything else; of a longer one the middle is not read."""

MAX_YES_CHARS = 300
"""Longest message, in characters, that can be a mere yes."""


class TextDetector:
    """Looks for all nine kinds of signal in the words of a message; offline, without any state.

    Attributes:
        name: ``text``.
        version: Version of the phrases and weights.
        kinds: Every kind.
    """

    name = "text"
    version = "1"
    kinds = frozenset(SignalKind)

    def detect(self, message: ObservedMessage) -> Iterable[Signal]:
        """Return five signals about a user's message, or four about an assistant's."""
        judged = self._user(message.text) if message.role == "user" else self._assistant(message.text)
        source = f"{self.name}/{self.version}"
        return [Signal(kind, answer, source) for kind, answer in judged.items()]

    def _user(self, text: str) -> dict[SignalKind, Answer]:
        whole, unread = _bounded(text, MAX_RISK_CHARS)
        risk = _search(whole, _RISK)
        short, _ = _bounded(text, MAX_CHARS)
        own_text = own_voice(short)
        own = _search(own_text, _OWN)
        return {
            SignalKind.SELF_HARM: _risk_answer(risk, "self_harm", unread=unread),
            SignalKind.VIOLENCE: _risk_answer(risk, "violence", unread=unread),
            SignalKind.ABUSE: _answer(own, "abuse", doubt_from=3),
            SignalKind.ASKS_TO_END: _answer(own, "asks_to_end", doubt_from=1),
            SignalKind.CONFIRMS_END: _confirms(own_text),
        }

    def _assistant(self, text: str) -> dict[SignalKind, Answer]:
        hits = _search(_bounded(text, MAX_CHARS)[0], _REPLY)
        return {
            SignalKind.REFUSAL: _answer(hits, "refusal", doubt_from=4),
            SignalKind.REDIRECTION: _answer(hits, "redirection", doubt_from=2),
            SignalKind.WARNING: _answer(hits, "warning", doubt_from=2),
            SignalKind.END_QUESTION: _answer(hits, "end_question", doubt_from=2),
        }


def _bounded(text: str, limit: int) -> tuple[str, bool]:
    """Return ``text``, or its head and tail where it is longer than ``limit`` characters, and whether it was cut."""
    if len(text) <= limit:
        return text, False
    return text[: limit // 2] + "\n" + text[-(limit // 2) :], True


def _search(text: str, kinds: frozenset[str]) -> PhraseHits:
    """Find the phrases of ``kinds`` in ``text``, whatever its language."""
    book, prepared = load_phrases(), plain(text)
    hits = book.search(tokens(prepared), kinds)
    if has_cjk(prepared):
        book.search_cjk(compact(prepared), kinds, hits)
    return hits


def _answer(hits: PhraseHits, kind: str, *, doubt_from: int) -> Answer:
    """Answer from the phrases: one sure phrase is a yes, ``doubt_from`` weak ones a *don't know*."""
    if hits.count(kind):
        return Answer.YES
    return Answer.UNKNOWN if hits.count(kind, "weak") >= doubt_from else Answer.NO


def _risk_answer(hits: PhraseHits, kind: str, *, unread: bool) -> Answer:
    """Answer about risk: what was not read is doubt."""
    answer = _answer(hits, kind, doubt_from=3)
    return Answer.UNKNOWN if unread and answer is Answer.NO else answer


def _confirms(text: str) -> Answer:
    """Answer whether a whole message is a yes and nothing else; a yes with more to it is doubt."""
    if len(text) > MAX_YES_CHARS:
        return Answer.NO
    said, whole = load_phrases().confirms(tokens(plain(text)))
    if said:
        return Answer.YES if whole else Answer.UNKNOWN
    return Answer.NO
