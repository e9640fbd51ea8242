"""The small language of the phrase files, and its translation into regular expressions.

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
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

__all__ = ["SHORT_STEM", "parts", "read_sections", "regex", "split"]

SHORT_STEM = 3
"""Letters that a stem with a star must have to be a trigger."""

_SENTENCE_END = r"[.!?]"
_GAPS = {
    "~": r"(?:[^\s.!?]+ ){0,2}",
    "~~": r"(?:[^\s.!?]+ ){0,5}",
    "~~~": r"(?:[^\s.!?]+ ){0,12}",
    "...": r"(?:\S+ ){0,40}?",
}
_MAX_PAIRS = 400
"""More pairs of words than this that may meet are not looked for: they take memory, and tell little."""

_ELEMENT = re.compile(r"\([^()]*(?:\([^()]*\)[^()]*)*\)[?*]?|\S+")


def regex(source: str) -> str:
    """Translate a phrase into a regular expression over tokens that each end in a space."""
    return "".join(_element(element) for element in _ELEMENT.findall(source))


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
    alternatives = "|".join(_alternative(alternative) for alternative in split(body))
    return f"(?:{alternatives})" + ("{0,6}" if suffix == "*" else suffix)


def _alternative(text: str) -> str:
    """Translate one alternative: tokens, groups, or a sentence mark; empty means nothing."""
    return "".join(_element(element) for element in _ELEMENT.findall(text))


def _token(token: str) -> str:
    if token.endswith("*") and len(token) > 1:
        return re.escape(token[:-1]) + r"\S* "
    return re.escape(token) + " "


def split(body: str) -> list[str]:
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


def parts(phrase: str) -> list[frozenset[str]]:
    """Return the required parts of a phrase, the one of the longest words first: of each, one must be in the text.

    Returns:
        For each part its triggers: words, stems with a star, and two words in a row.

    Raises:
        ValueError: No part of the phrase is required.
    """
    found = [part for part in _required(phrase) if part]
    if not found:
        raise ValueError(f"phrase without a required word: {phrase!r}")
    return sorted(found, key=lambda part: min(map(len, part)), reverse=True)


def _required(phrase: str) -> Iterator[frozenset[str]]:
    """Yield the triggers of each element, and those of each two without a gap: the pairs of words that may meet."""
    elements = _ELEMENT.findall(phrase)
    yield from map(_triggers, elements)
    for one, other in pairwise(elements):
        pairs = frozenset(f"{last} {first}" for last in _edge(one, -1) for first in _edge(other, 0))
        yield pairs if len(pairs) <= _MAX_PAIRS else frozenset()


def _edge(element: str, place: int) -> list[str]:
    """Return the first or last words of an element; none where any of its alternatives has no such word."""
    if not element.startswith("("):
        return [element] if element.isalnum() else []
    ways = [] if element.endswith((")?", ")*")) else split(element[1:-1])
    edges = [_edge(elements[place], place) if (elements := _ELEMENT.findall(way)) else [] for way in ways]
    return [word for edge in edges for word in edge] if all(edges) else []


def _triggers(element: str) -> frozenset[str]:
    """Return the words, or pairs, of which one must be there for an element; none where it does not need any."""
    if element.startswith("("):
        ways = [] if element.endswith((")?", ")*")) else split(element[1:-1])
        longest = [max(_required(way), key=_shortest, default=frozenset()) for way in ways]
        return frozenset().union(*longest) if all(longest) else frozenset()
    is_word = (
        element not in _GAPS and element not in "^$?!.," and len(element.rstrip("*")) >= element.count("*") * SHORT_STEM
    )
    return frozenset([element] if is_word else [])


def _shortest(part: frozenset[str]) -> int:
    return min(map(len, part), default=0)


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
