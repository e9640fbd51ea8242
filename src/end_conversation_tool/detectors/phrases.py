"""Phrase rules: what people say, written down, in twelve languages.

The phrases live in ``phrases/*.txt``, one file a language, so that somebody who speaks a language but not Python can
correct them. A file has sections ``[kind strength]`` and one phrase a line:

    word                a token, as normalise.py leaves it: lower case, no accents, no apostrophes
    word*               any token that begins so
    (a|b c|d*)          one of these; an alternative may have several tokens
    (...)?  (...)*      the same, optional; optional and up to six times
    ~  ~~  ~~~          up to 2, 5 or 12 tokens of the same sentence
    ...                 up to 40 tokens, sentence ends included
    ^  $                begins, ends a sentence
    ? ! . ,             that punctuation

The Chinese file holds regular expressions instead, since Chinese does not separate words.

A rule is tried only if one of its *triggers* occurs: the first letters of the words of its rarest part. So a message
costs time in proportion to what it says, and not to the number of rules; and a rule is compiled when it is first
tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from end_conversation_tool.detectors.normalise import fold

__all__ = ["PhraseBook", "PhraseHits", "load_phrases", "read_sections"]

_TRIGGER_CHARS = 4
_SHORT_STEM = 3
_SENTENCE_END = r"[.!?]"
_GAPS = {
    "~": r"(?:[^\s.!?]+ ){0,2}",
    "~~": r"(?:[^\s.!?]+ ){0,5}",
    "~~~": r"(?:[^\s.!?]+ ){0,12}",
    "...": r"(?:\S+ ){0,40}?",
}
_ELEMENT = re.compile(r"\([^()]*(?:\([^()]*\)[^()]*)*\)[?*]?|\S+")


@dataclass(slots=True)
class PhraseHits:
    """What the phrases found in one text.

    Attributes:
        sections: Number of different phrases found, for each ``"kind strength"``.
    """

    sections: dict[str, int] = field(default_factory=dict)

    def count(self, kind: str, strength: str = "sure") -> int:
        """Return how many phrases of a section were found."""
        return self.sections.get(f"{kind} {strength}", 0)


class _Rule:
    """One phrase, compiled when first tried."""

    __slots__ = ("_compiled", "section", "source")

    def __init__(self, section: str, source: str) -> None:
        self.section, self.source = section, source
        self._compiled: re.Pattern[str] | None = None

    def pattern(self) -> re.Pattern[str]:
        if self._compiled is None:
            self._compiled = re.compile(_regex(self.source))
        return self._compiled


class PhraseBook:
    """All phrases of all languages, indexed by their triggers.

    Args:
        sections: ``(language, section, phrases)`` as :func:`read_sections` yields them.
    """

    def __init__(self, sections: Iterable[tuple[str, str, list[str]]]) -> None:
        self._index: dict[str, list[_Rule]] = {}
        self._cjk: list[tuple[str, re.Pattern[str]]] = []
        self._whole: dict[str, list[str]] = {}
        self._compiled_whole: tuple[re.Pattern[str], re.Pattern[str]] | None = None
        for language, section, phrases in sections:
            if language == "zh":
                self._cjk.append((section, re.compile("|".join(f"(?:{phrase})" for phrase in phrases))))
            elif section.startswith("confirms_end"):
                self._whole.setdefault(section, []).extend(phrases)
            else:
                self._add(section, phrases)

    def _add(self, section: str, phrases: Iterable[str]) -> None:
        for phrase in phrases:
            rule = _Rule(section, phrase)
            for trigger in _triggers(phrase):
                self._index.setdefault(trigger, []).append(rule)

    def search(self, tokens: list[str], kinds: frozenset[str]) -> PhraseHits:
        """Find phrases of some kinds in a text.

        Args:
            tokens: The text as :func:`normalise.tokens` leaves it.
            kinds: The kinds looked for, by name.

        Returns:
            The sections in which something was found. Where a ``not`` phrase of a kind occurs, its words do not count
            for that kind.
        """
        seen = {token[:_TRIGGER_CHARS] for token in tokens}
        seen.update([token[:_SHORT_STEM] + "*" for token in seen])
        candidates: dict[str, set[_Rule]] = {}
        for trigger in seen & self._index.keys():
            for rule in self._index[trigger]:
                if rule.section.partition(" ")[0] in kinds:
                    candidates.setdefault(rule.section, set()).add(rule)
        hits = PhraseHits()
        if not candidates:
            return hits
        line = " " + " ".join(tokens) + " "
        cleaned = {
            section.partition(" ")[0]: _blank(line, rules)
            for section, rules in candidates.items()
            if section.endswith(" not")
        }
        for section, rules in candidates.items():
            text = cleaned.get(section.partition(" ")[0], line)
            if count := sum(1 for rule in rules if rule.pattern().search(text)):
                hits.sections[section] = count
        return hits

    def search_cjk(self, text: str, kinds: frozenset[str], hits: PhraseHits) -> None:
        """Add to ``hits`` what the Chinese phrases find in ``text``, a text without spaces."""
        blanked: dict[str, str] = {}
        for section, pattern in self._cjk:
            kind, _, strength = section.partition(" ")
            if kind not in kinds:
                continue
            if strength == "not":
                blanked[kind] = pattern.sub("#", text)
            elif count := sum(1 for _ in pattern.finditer(blanked.get(kind, text))):
                hits.sections[section] = hits.sections.get(section, 0) + count

    def confirms(self, tokens: list[str]) -> tuple[bool, bool]:
        """Read a whole message as a yes to a question.

        The text is consumed from the left, a yes-phrase where one fits, otherwise filler or a mark; time is linear.

        Returns:
            Whether a yes-phrase was among what was read, and whether the whole message could be read so.
        """
        line, position, said = " " + " ".join(tokens) + " ", 1, False
        yes, filler = self._whole_patterns()
        while position < len(line):
            match = yes.match(line, position)
            said = said or match is not None
            match = match or filler.match(line, position)
            if match is None:
                return said, False
            position = match.end()
        return said, True

    def _whole_patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Return patterns for one yes-phrase and for one piece of filler, the longest first; compiled once."""
        if self._compiled_whole is None:
            yes, filler = self._whole["confirms_end yes"], self._whole["confirms_end filler"]
            self._compiled_whole = (_longest_first(yes), _longest_first([*filler, ".", "!"]))
        return self._compiled_whole


def _longest_first(phrases: list[str]) -> re.Pattern[str]:
    """Join phrases so that one of many words is tried before its own beginning."""
    flat = [
        alternative
        for phrase in phrases
        for alternative in (_split(phrase[1:-1]) if re.fullmatch(r"\([^()]*\)", phrase) else [phrase])
    ]
    patterns = [_regex(phrase, anchored=False) for phrase in sorted(flat, key=len, reverse=True)]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


def _blank(line: str, rules: Iterable[_Rule]) -> str:
    """Replace what ``rules`` find by a sentence end, so that nothing is read across the gap."""
    for rule in rules:
        line = rule.pattern().sub(". ", line)
    return line


def _regex(source: str, *, anchored: bool = True) -> str:
    """Translate a phrase into a regular expression over tokens that each end in a space."""
    parts = [_element(element) for element in _ELEMENT.findall(source)]
    return ("(?<= )" if anchored else "") + "".join(parts)


def _element(element: str) -> str:
    if element in _GAPS:
        return _GAPS[element]
    if element == "^":
        return rf"(?:(?<=^ )|(?<={_SENTENCE_END} ))"
    if element == "$":
        return rf"(?=$|{_SENTENCE_END} )"
    if not element.startswith("("):
        return _token(element)
    body, suffix = element[1:].rsplit(")", 1)
    alternatives = "|".join(_alternative(alternative) for alternative in _split(body))
    return f"(?:{alternatives})" + ("{0,6}" if suffix == "*" else suffix)


def _alternative(text: str) -> str:
    """Translate one alternative: tokens, groups, or a sentence mark; empty means nothing."""
    return "".join(_element(element) for element in _ELEMENT.findall(text))


def _token(token: str) -> str:
    if token.endswith("*") and len(token) > 1:
        return re.escape(token[:-1]) + r"\S* "
    return re.escape(token) + " "


def _split(body: str) -> list[str]:
    """Split alternatives at the bars that are not inside an inner group."""
    depth, parts, current = 0, [], ""
    for char in body:
        depth += (char == "(") - (char == ")")
        if char == "|" and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += char
    return [*parts, current]


def _triggers(phrase: str) -> set[str]:
    """Return the first letters, one of which must occur, of the required part whose words are rarest."""
    best: set[str] = set()
    best_score = (-1.0, 0)
    for element in _ELEMENT.findall(phrase):
        if element in _GAPS or element in "^$?!." or element.endswith((")?", ")*")):
            continue
        words = [_rarest(alternative) for alternative in _split(element.strip("()"))]
        if any(word is None for word in words):
            continue
        found = {word for word in words if word}
        common = sum(word in _common_words() for word in found) / len(found)
        score = (1.0 - common, -len(found))
        if score > best_score:
            best, best_score = {_trigger(word) for word in found}, score
    if not best:
        raise ValueError(f"phrase without a required word: {phrase!r}")
    return best


def _trigger(word: str) -> str:
    """Return the trigger of one word: its first letters, with a star where the stem itself is shorter than those."""
    stem = word.rstrip("*")
    return stem + "*" if word.endswith("*") and len(stem) < _TRIGGER_CHARS else stem[:_TRIGGER_CHARS]


def _rarest(alternative: str) -> str | None:
    """Return the word of an alternative that is rarest: not common, then longest. None where there is none."""
    words = [
        word
        for word in _ELEMENT.findall(alternative)
        if not word.startswith(("(", "~", "^", "$", "?", "!", ".", ","))
        and not (word.endswith("*") and len(word.rstrip("*")) < _SHORT_STEM)
    ]
    return max(words, key=lambda word: (word not in _common_words(), len(word)), default=None)


def read_sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """Read a phrase file.

    Yields:
        ``(section, phrases)`` in order, where a section is ``"kind strength"``.
    """
    section, phrases = "", list[str]()
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]") and " " in line and "|" not in line:
            if section:
                yield section, phrases
            section, phrases = line[1:-1], []
        else:
            phrases.append(line)
    if section:
        yield section, phrases


@cache
def _common_words() -> frozenset[str]:
    """Return the words of ``common_words.txt``: they are no trigger where another word will do."""
    text = (resources.files(__package__) / "common_words.txt").read_text(encoding="utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())


@cache
def load_phrases() -> PhraseBook:
    """Return the phrases shipped with the package, read once a process."""
    folder = resources.files(__package__) / "phrases"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".txt")), key=lambda entry: entry.name)
    return PhraseBook(
        (entry.name.removesuffix(".txt"), section, phrases)
        for entry in files
        for section, phrases in read_sections(fold(entry.read_text(encoding="utf-8")))
    )
