"""The Chinese phrases: regular expressions over text without spaces, tried only where their characters are.

A phrase is split into its alternatives. Each has characters of which one must be in the text, for each part that is
required: most texts have not all of them for any alternative, and then no regular expression is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources

from end_conversation_tool.watch.phrase_grammar import split

__all__ = ["ChineseSection"]

_GROUP = re.compile(r"\(([^()]|\([^()]*\))*\)")


class ChineseSection:
    """The phrases of one section.

    Args:
        section: Its name.
        phrases: Regular expressions, in which one that is tried first wins where two begin at the same place.

    Attributes:
        section: Its name.
        kind: The kind it is about.
        excepts: Whether what it finds does not count.
    """

    def __init__(self, section: str, phrases: Iterable[str]) -> None:
        self.section = section
        self.kind, _, strength = section.partition(" ")
        self.excepts = strength == "not"
        alternatives = [
            alternative
            for phrase in phrases
            for alternative in split(phrase[1:-1] if _GROUP.fullmatch(phrase) else phrase)
        ]
        self._patterns = [re.compile(alternative) for alternative in alternatives]
        self._whole = re.compile("|".join(alternatives))
        self._by_character: dict[str, list[tuple[int, list[frozenset[str]]]]] = {}
        for number, alternative in enumerate(alternatives):
            first, *others = sorted(required(alternative), key=lambda part: sum(map(_common, part)))
            for character in first:
                self._by_character.setdefault(character, []).append((number, others))
        self._characters = frozenset(self._by_character)

    def places(self, text: str, characters: set[str]) -> Iterator[int]:
        """Yield where the phrases begin that are found one after the other, from left to right.

        Args:
            text: A text without spaces.
            characters: Its characters.
        """
        patterns = self._candidates(characters)
        matches = [pattern.search(text) for pattern in patterns]
        position = 0
        while True:
            for number, match in enumerate(matches):
                if match is not None and match.start() < position:
                    matches[number] = patterns[number].search(text, position)
            found = min((match for match in matches if match is not None), key=re.Match.start, default=None)
            if found is None:
                return
            yield found.start()
            position = max(found.end(), found.start() + 1)

    def blanked(self, text: str, characters: set[str]) -> str:
        """Return ``text`` with a mark in place of what is found."""
        return self._whole.sub("#", text) if self._candidates(characters) else text

    def _candidates(self, characters: set[str]) -> list[re.Pattern[str]]:
        """Return the alternatives that may be in a text of these characters, in order."""
        numbers = {
            number
            for character in self._characters & characters
            for number, others in self._by_character[character]
            if not any(part.isdisjoint(characters) for part in others)
        }
        return [self._patterns[number] for number in sorted(numbers)]


def required(pattern: str) -> list[frozenset[str]]:
    """Return sets of characters of each of which a text must hold one to match.

    Args:
        pattern: A regular expression of characters, classes, groups, ``?``, ``*``, ``{0,n}``, ``.``, ``$``, ``(?!``.

    Raises:
        ValueError: Nothing in it is required.
    """
    found = _required(pattern)
    if not found:
        raise ValueError(f"phrase without a required character: {pattern!r}")
    return found


def _required(pattern: str) -> list[frozenset[str]]:
    found: list[frozenset[str]] = []
    position = 0
    while position < len(pattern):
        begin = position
        if pattern[begin] == "(":
            position = _end_of_group(pattern, begin)
        else:
            position = pattern.index("]", begin) + 1 if pattern[begin] == "[" else begin + 1
        piece = pattern[begin:position]
        optional = re.compile(r"[?*]|\{0,\d+\}").match(pattern, position)
        if optional:
            position = optional.end()
        elif piece.startswith("(") and not piece.startswith("(?!"):
            rarest = [min(_required(part), key=_commonness, default=None) for part in split(piece[1:-1])]
            if None not in rarest:
                found.append(frozenset().union(*(part for part in rarest if part)))
        elif piece not in {".", "$"} and not piece.startswith("("):
            found.append(frozenset(piece.strip("[]")))
    return found


def _end_of_group(pattern: str, begin: int) -> int:
    """Return the place after the bracket that closes the group that begins there."""
    depth = 0
    for place in range(begin, len(pattern)):
        depth += (pattern[place] == "(") - (pattern[place] == ")")
        if not depth:
            return place + 1
    raise ValueError(f"phrase with an open group: {pattern!r}")


def _commonness(characters: frozenset[str]) -> float:
    return sum(map(_common, characters))


def _common(character: str) -> float:
    """Return how common a character is, roughly: a share of the messages that hold it."""
    return _common_characters().get(character, 0.02)


@cache
def _common_characters() -> dict[str, float]:
    text = (resources.files(__package__) / "common_characters.txt").read_text(encoding="utf-8")
    characters = [char for line in text.splitlines() if not line.startswith("#") for char in line.strip()]
    return {character: 1 / (1 + place / 40) for place, character in enumerate(characters)}
