"""The watcher that ships: phrases in twelve languages and small linear models over n-grams; offline, without state.

1. A clear sign takes two: a phrase that names it, and a model that sees it. In the talk of people who insult an
   assistant either alone is wrong too often to flag somebody for good. What only one of them sees is possible.
2. Each clause counts, and what remains of the text without its insults: neither hides the other.
3. A threat that somebody only quotes is possible. Words about self-harm count whoever said them.
4. What is not read is a doubt: the middle of a long text, more work than the phrases may take, an unknown language.
5. A message that is a mere yes to a question is read by phrases alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from operator import eq
from typing import NamedTuple

from end_conversation_tool._core.vocabulary import RiskGrade, RiskKind
from end_conversation_tool.watch.language import read_language
from end_conversation_tool.watch.model import LinearModels, load_models, shipped_version
from end_conversation_tool.watch.ngrams import units
from end_conversation_tool.watch.normalise import as_meant, compact, has_cjk, own_voice, plain, spells, tokens
from end_conversation_tool.watch.phrases import Rule, load_phrases
from end_conversation_tool.watch.risk import Sighting

__all__ = ["MAX_CHARS", "TextWatcher", "bounded", "units_and_clauses", "windows_of"]

MAX_CHARS = 6_000
"""Longest text, in characters, that is read; of a longer one the middle is not."""

MAX_TOLD_CHARS = 3_000
"""Longest text, in characters, of which it can be told cheaply that nothing in it would raise an alarm."""

MAX_YES_CHARS = 300
"""Longest message, in characters, that can be a mere yes."""

WINDOW_TOKENS = 200
"""Tokens that a model judges at once."""

_CLEAR: Mapping[RiskKind, float] = {RiskKind.SELF_HARM: 0.5, RiskKind.VIOLENCE: 0.95}
"""Calibrated score from which on a sign that a phrase names is clear; chosen on the development rows (model card)."""

_RISKS = frozenset({RiskKind.SELF_HARM, RiskKind.VIOLENCE})
_TELLING = frozenset({*_RISKS, "abuse"})
_CLAUSE = "\x00"
_BREAK = f" {_CLAUSE} "
_CLAUSE_END = re.compile(r"[,;:()\n.!?\N{EM DASH}\N{EN DASH}\N{IDEOGRAPHIC FULL STOP}\N{FULLWIDTH COMMA}]+")


class _Named(NamedTuple):
    """What the phrases name in a text.

    Attributes:
        words: Its words.
        ends: Where each clause ends.
        views: Its lines: as it stands, as it is meant, without its insults.
        found: The phrases.
        whole: Whether all of it was read.
    """

    words: list[str]
    ends: list[int]
    views: tuple[str, ...]
    found: set[Rule]
    whole: bool


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
        self._models = models or load_models()
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

    def alarm(self, text: str) -> Sighting:
        """Return what ``look`` does where it is a clear sign: a phrase must name one, which is seen first."""
        return self.look(text) if self._named(plain(bounded(text)[0])).found else Sighting(RiskGrade.NONE)

    def may_alarm(self, text: str) -> bool:
        """Whether ``look`` could see a clear sign in ``text``, in lines of it, or in it with its breaks left out.

        A phrase must name one, and most texts do not even have the words for any. What is left out of a text before it
        is looked at brings words together that were apart: wherever that could be, the answer is yes.
        """
        if len(text) > MAX_TOLD_CHARS:
            return True
        prepared = plain(text)
        said = tokens(_CLAUSE_END.sub(_BREAK, prepared.replace(_CLAUSE, " ")))
        if any(map(eq, said, islice(said, 1, None))):
            said = [word for word, before in zip(said, ["", *said], strict=False) if word != before]
        clauses = " ".join(said).strip(_BREAK).split(_BREAK)
        line = f" {' '.join(clauses)} "
        repeats, reads_otherwise = len(set(clauses)) < len(clauses), as_meant(line) != line or has_cjk(prepared)
        return repeats or reads_otherwise or spells(line) or self._phrases.may_find(line.split(), _TELLING)

    def _named(self, prepared: str) -> _Named:
        """Look for the phrases in a text, as it stands, as it is meant, and without its insults."""
        words, ends = units_and_clauses(prepared)
        line = _line(words)
        views = tuple(dict.fromkeys((line, as_meant(line), self._phrases.without(line, "abuse"))))
        found, whole = self._search(views, compact(prepared) if has_cjk(prepared) else "")
        return _Named(words, ends, views, found, whole)

    def _grade(self, text: str) -> tuple[dict[RiskKind, RiskGrade], float, str]:
        """Return the grade of each kind that is seen, the highest score of any model, and why something is unread."""
        words, ends, views, found, whole = self._named(plain(text))
        grades: dict[RiskKind, RiskGrade] = {}
        if not found and len(text) <= MAX_YES_CHARS and self._phrases.is_yes(views[0]):
            return grades, 0.0, ""
        covered, _ = read_language(text, words)
        windows = windows_of(len(words))
        scores = self._models.scores(words, [*windows, *zip([0, *ends], ends, strict=False)])
        anywhere = scores.max(axis=0)
        for view in views[1:]:
            kept = view.split()
            anywhere = anywhere.clip(min=self._models.scores(kept, windows_of(len(kept))).max(axis=0))
        highest = 0.0
        for kind in sorted(_RISKS):
            column = self._models.kinds.index(kind)
            named, seen = any(rule.kind == kind for rule in found), float(anywhere[column])
            highest = max(highest, seen)
            if named and seen >= _CLEAR[kind]:
                grades[kind] = RiskGrade.CLEAR
            elif named or seen >= self._models.limits[0, column]:
                grades[kind] = RiskGrade.POSSIBLE
        return grades, highest, "" if covered and whole else "cut" if covered else "language"

    def _search(self, views: Iterable[str], chinese: str) -> tuple[set[Rule], bool]:
        """Find the phrases in the views of a text, and in its Chinese; say whether all of it was read."""
        found, whole = self._phrases.search_chinese(chinese, _RISKS) if chinese else set[Rule](), True
        for view in views:
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


def units_and_clauses(prepared: str) -> tuple[list[str], list[int]]:
    """Return the words of a text, Chinese ones in pairs of characters, and where each clause ends.

    What is said again, a word at once or a clause anywhere, is left out: to a model, repetition is no evidence.
    """
    words, ends, clauses = list[str](), [0], set[tuple[str, ...]]()
    marked = _CLAUSE_END.sub(lambda end: f"{end[0]} {_CLAUSE} ", prepared.replace(_CLAUSE, " "))
    for word in units(tokens(f"{marked} {_CLAUSE}")):
        if word != _CLAUSE:
            words += [word] if len(words) == ends[-1] or word != words[-1] else []
        elif (clause := tuple(words[ends[-1] :])) in clauses:
            del words[ends[-1] :]
        else:
            clauses.add(clause)
            ends.append(len(words))
    return words, ends[1:]


def _line(words: Sequence[str]) -> str:
    return f" {' '.join(words)} "
