"""Phrase rules: what people say, written down, in twelve languages.

The phrases live in ``phrases/*.txt``, in the small language of :mod:`phrase_grammar`. Which of
them are tried on a text is the matter of :mod:`phrase_index`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from end_conversation_tool.watch.normalise import fold
from end_conversation_tool.watch.phrase_chinese import ChineseSection
from end_conversation_tool.watch.phrase_grammar import read_sections, regex, split
from end_conversation_tool.watch.phrase_index import PhraseIndex, Rule

__all__ = ["PhraseBook", "PhraseHits", "load_phrases"]


@dataclass(slots=True)
class PhraseHits:
    """What the phrases found in one text.

    Attributes:
        sections: Number of different phrases found, for each ``"kind strength"``.
        languages: Languages of the sure phrases found, for each kind.
        places: Where the phrases of each section begin, in characters.
    """

    sections: dict[str, int] = field(default_factory=dict)
    languages: dict[str, set[str]] = field(default_factory=dict)
    places: dict[str, list[int]] = field(default_factory=dict)

    def count(self, kind: str, strength: str = "sure") -> int:
        """Return how many phrases of a section were found."""
        return self.sections.get(f"{kind} {strength}", 0)

    def before(self, kind: str, strength: str, place: int) -> int:
        """Return how many phrases of a section begin before a place, given in characters."""
        return sum(start < place for start in self.places.get(f"{kind} {strength}", ()))

    def add(self, section: str, language: str, place: int) -> None:
        """Note that a phrase of a section was found."""
        self.sections[section] = self.sections.get(section, 0) + 1
        self.places.setdefault(section, []).append(place)
        kind, _, strength = section.partition(" ")
        if strength == "sure":
            self.languages.setdefault(kind, set()).add(language)

    def foreign(self, kind: str) -> bool:
        """Whether a sure phrase of a language other than English was found."""
        return bool(self.languages.get(kind, set()) - {"en"})


class PhraseBook:
    """All phrases of all languages, indexed by their triggers.

    Args:
        sections: ``(language, section, phrases)`` as :func:`read_sections` yields them.

    Attributes:
        rules: The rules over tokens, in the order of the files.
    """

    def __init__(self, sections: Iterable[tuple[str, str, list[str]]]) -> None:
        self.rules: list[Rule] = []
        self._indices: dict[frozenset[str], PhraseIndex] = {}
        self._cjk: list[ChineseSection] = []
        self._whole: dict[str, list[str]] = {}
        self._compiled_whole: tuple[re.Pattern[str], re.Pattern[str]] | None = None
        for language, section, phrases in sections:
            if language == "zh":
                self._cjk.append(ChineseSection(section, phrases))
            elif section.startswith("confirms_end"):
                self._whole.setdefault(section, []).extend(phrases)
            else:
                self.rules += [
                    Rule(number, language, section, phrase) for number, phrase in enumerate(phrases, len(self.rules))
                ]

    def search(self, tokens: list[str], kinds: frozenset[str]) -> PhraseHits:
        """Find phrases of some kinds in a text.

        Args:
            tokens: The text as :func:`normalise.tokens` leaves it.
            kinds: The kinds looked for, by name.

        Returns:
            The sections in which something was found. Where a ``not`` phrase of a kind occurs, its words do not count
            for that kind.
        """
        return self.search_line(f" {' '.join(tokens)} ", set(tokens), kinds)

    def search_line(self, line: str, seen: set[str], kinds: frozenset[str]) -> PhraseHits:
        """Do the same for tokens that are one line already.

        Args:
            line: The tokens, with a space before, between and after them.
            seen: The different tokens; more may be added.
            kinds: The kinds looked for, by name.
        """
        hits = PhraseHits()
        for rule, place in self._index_of(kinds).search(line, seen).items():
            hits.add(rule.section, rule.language, place)
        return hits

    def search_more(self, meant: str, line: str, kinds: frozenset[str], hits: PhraseHits) -> None:
        """Add to ``hits`` what is found in a line in other words, ``meant``, and is not in ``line``."""
        index = self._index_of(kinds)
        known = index.search(line, set(line.split()))
        for rule, place in index.search(meant, set(meant.split())).items():
            if rule not in known:
                hits.add(rule.section, rule.language, place)

    def _index_of(self, kinds: frozenset[str]) -> PhraseIndex:
        """Return the index of the rules of some kinds, made once for each set of kinds."""
        index = self._indices.get(kinds)
        if index is None:
            index = self._indices[kinds] = PhraseIndex(rule for rule in self.rules if rule.kind in kinds)
        return index

    def search_cjk(self, text: str, kinds: frozenset[str], hits: PhraseHits) -> None:
        """Add to ``hits`` what the Chinese phrases find in ``text``, a text without spaces."""
        blanked: dict[str, str] = {}
        characters = set(text)
        for section in self._cjk:
            if section.kind not in kinds:
                continue
            if section.excepts:
                blanked[section.kind] = section.blanked(text, characters)
            else:
                for place in section.places(blanked.get(section.kind, text), characters):
                    hits.add(section.section, "zh", place)

    def confirms(self, line: str) -> tuple[bool, bool]:
        """Read a whole message as a yes to a question.

        The text is consumed from the left, a yes-phrase where one fits, otherwise filler or a mark; time is linear.

        Args:
            line: Its tokens, with a space before, between and after them.

        Returns:
            Whether a yes-phrase was among what was read, and whether the whole message could be read so.
        """
        yes, filler = self._whole_patterns()
        position, said = 1, False
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
        for alternative in (split(phrase[1:-1]) if re.fullmatch(r"\([^()]*\)", phrase) else [phrase])
    ]
    patterns = [regex(phrase) for phrase in sorted(flat, key=len, reverse=True)]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


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
