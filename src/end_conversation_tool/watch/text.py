"""The watcher that ships: phrases in twelve languages, and small linear models over n-grams. Offline, without any state.

1. A sure phrase about self-harm, or about violence in a language of which the models saw little, is a clear sign; so is a
   high score of a model. Everything between that and nothing is possible.
2. Each clause counts, and what remains of the text without its insults: neither hides the other.
3. A threat that somebody only quotes is possible. Words about self-harm count whoever said them.
4. What is not read is a doubt: the middle of a long text, more work than the phrases may take, an unknown language.
5. A message that is a mere yes to a question is read by phrases alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from end_conversation_tool._core.vocabulary import RiskGrade, RiskKind
from end_conversation_tool.watch.language import is_covered, is_english
from end_conversation_tool.watch.model import LinearModels, load_models, shipped_version
from end_conversation_tool.watch.ngrams import units
from end_conversation_tool.watch.normalise import as_meant, compact, has_cjk, own_voice, plain, tokens
from end_conversation_tool.watch.phrases import Rule, load_phrases
from end_conversation_tool.watch.risk import Sighting

__all__ = ["MAX_CHARS", "TextWatcher", "bounded", "windows_of"]

MAX_CHARS = 6_000
"""Longest text, in characters, that is read; of a longer one the middle is not."""

MAX_YES_CHARS = 300
"""Longest message, in characters, that can be a mere yes."""

WINDOW_TOKENS = 200
"""Tokens that a model judges at once."""

_RISKS = frozenset({RiskKind.SELF_HARM, RiskKind.VIOLENCE})
_CLAUSE_END = re.compile(r"[,;:()\n.!?\N{EM DASH}\N{EN DASH}\N{IDEOGRAPHIC FULL STOP}\N{FULLWIDTH COMMA}]+")


class TextWatcher:
    """Looks for signs of self-harm and of violence in the words of a text.

    Args:
        models: Other weights than those shipped, to evaluate them.

    Attributes:
        name: ``text``.
        version: Digest of the phrases and the weights.
    """

    name = "text"

    def __init__(self, models: LinearModels | None = None) -> None:
        self._models = models or load_models("user")
        self._phrases = load_phrases()
        self.version = shipped_version()

    def look(self, text: str) -> Sighting:
        """Return what is seen in ``text``, in time linear in its length and bounded for any length."""
        short, cut = bounded(text)
        grades, score, unread = self._grade(short)
        if grades.get(RiskKind.VIOLENCE) is RiskGrade.CLEAR and (own := own_voice(short)) != short:
            grades[RiskKind.VIOLENCE] = self._grade(own)[0].get(RiskKind.VIOLENCE, RiskGrade.POSSIBLE)
        why = unread or ("cut" if cut else "")
        grade = RiskGrade.POSSIBLE if why else RiskGrade.NONE
        for surest in (RiskGrade.POSSIBLE, RiskGrade.CLEAR):
            grade = surest if surest in grades.values() else grade
        kinds = tuple(kind for kind, seen in grades.items() if seen is grade)
        source = f"{self.name}/{self.version}"
        return Sighting(grade, kinds, source, "" if grade is RiskGrade.CLEAR else why, score)

    def _grade(self, text: str) -> tuple[dict[RiskKind, RiskGrade], float, str]:
        """Return the grade of each kind that is seen, the highest score of any model, and why something is unread."""
        prepared = plain(text)
        words, ends = _words_and_clauses(prepared)
        line = _line(words)
        rest = self._phrases.without(line, "abuse")
        found, whole = self._search(line, rest, compact(prepared) if has_cjk(prepared) else "")
        grades: dict[RiskKind, RiskGrade] = {}
        if not found and len(text) <= MAX_YES_CHARS and self._phrases.is_yes(line):
            return grades, 0.0, ""
        english = is_english(words)
        windows = windows_of(len(words))
        scores = self._models.scores(words, [*windows, *zip([0, *ends], ends, strict=False)])
        whole_text, anywhere = scores[: len(windows)].max(axis=0), scores.max(axis=0)
        if rest != line:
            kept = rest.split()
            whole_text = whole_text.clip(min=self._models.scores(kept, windows_of(len(kept))).max(axis=0))
        highest = 0.0
        for column, kind in enumerate(self._models.kinds):
            if kind not in _RISKS: continue
            possible, clear = self._models.limits[:, column].tolist()
            score=float(max(whole_text[column], anywhere[column]))
            highest = max(highest, score)
            named = any(rule.kind == kind for rule in found)
            if whole_text[column] >= clear or named and (whole_text[column] >= possible or not english):
                grades[RiskKind(kind)] = RiskGrade.CLEAR
            elif named or score >= possible:
                grades[RiskKind(kind)] = RiskGrade.POSSIBLE
        unread = "" if is_covered(words, latin=text.isascii()) else "language"
        return grades, highest, unread or ("" if whole else "cut")

    def _search(self, line: str, rest: str, chinese: str) -> tuple[set[Rule], bool]:
        """Find the phrases in a line of tokens, in what it may mean, in what is left of it, and in Chinese text."""
        found, whole = self._phrases.search_chinese(chinese, _RISKS) if chinese else set[Rule](), True
        for view in dict.fromkeys((line, as_meant(line), rest)):
            more, all_read = self._phrases.search(view, _RISKS)
            found, whole = found | more, whole and all_read
        return found, whole


def bounded(text: str) -> tuple[str, bool]:
    """Return ``text``, or its head and tail where it is longer than :data:`MAX_CHARS`, and whether it was cut."""
    if len(text) <= MAX_CHARS:
        return text, False
    return text[: MAX_CHARS // 2] + "\n" + text[-(MAX_CHARS // 2) :], True


def windows_of(count: int) -> list[tuple[int, int]]:
    """Return the windows of at most :data:`WINDOW_TOKENS` words in which ``count`` words are judged, at least one."""
    return [(begin, min(begin + WINDOW_TOKENS, count)) for begin in range(0, max(count, 1), WINDOW_TOKENS)]


def _words_and_clauses(prepared: str) -> tuple[list[str], list[int]]:
    """Return the words of a text, Chinese ones in pairs of characters, and where each clause ends."""
    words: list[str] = []
    ends = []
    for clause in _clauses(prepared):
        words += units(tokens(clause))
        ends.append(len(words))
    return words, ends


def _clauses(prepared: str) -> Iterator[str]:
    begin = 0
    for end in _CLAUSE_END.finditer(prepared):
        yield prepared[begin : end.end()]
        begin = end.end()
    yield prepared[begin:]


def _line(words: Sequence[str]) -> str:
    return f" {' '.join(words)} "
