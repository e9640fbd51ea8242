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
from functools import cache
from importlib import resources

__all__ = ["SHORT_STEM", "is_literal", "literal", "parts", "read_sections", "regex", "spaced", "split"]

SHORT_STEM = 3
"""Letters that a stem with a star must have to be a trigger."""

_SENTENCE_END = r"[.!?]"
_GAPS = {
    "~": r"(?:[^\s.!?]+ ){0,2}",
    "~~": r"(?:[^\s.!?]+ ){0,5}",
    "~~~": r"(?:[^\s.!?]+ ){0,12}",
    "...": r"(?:\S+ ){0,40}?",
}
_RARE = 0.02
"""How common a word is of which nothing is known."""

_IS_NO_WORD = re.compile(r"[()|~^$]|^(?:\.\.\.|[?!.,])$")
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


def parts(phrase: str) -> list[dict[str, list[str]]]:
    """Return the required parts of a phrase: of each, one alternative must occur. The part of rarest words comes first.

    Returns:
        For each part, its triggers, each with the strings of which one must be in a line of tokens that each have a
        space before and after.

    Raises:
        ValueError: No part of the phrase is required.
    """
    found: list[tuple[float, int, dict[str, list[str]]]] = []
    for element in _required(phrase):
        words = [word for word in map(_rarest, element) if word]
        if words and len(words) == len(element):
            ways: dict[str, list[str]] = {word: [] for word in words}
            for word, alternative in zip(words, element, strict=True):
                ways[word].append(literal(alternative) or spaced(word))
            found.append((sum(_common(word) for word in ways), len(ways), ways))
    if not found:
        raise ValueError(f"phrase without a required word: {phrase!r}")
    return [part for *_, part in sorted(found, key=lambda part: part[:2])]


def _required(phrase: str) -> list[list[str]]:
    """Return the alternatives of each element of a phrase that is required; words that follow each other are one."""
    required: list[list[str]] = []
    run: list[str] = []
    for element in [*_ELEMENT.findall(phrase), "^"]:
        if not element.startswith("(") and element not in _GAPS and element not in "^$?!.":
            run.append(element)
            continue
        if run:
            required.append([" ".join(run)])
            run = []
        if element.startswith("(") and not element.endswith((")?", ")*")):
            required.append(split(element[1:-1]))
    return required


def literal(alternative: str) -> str | None:
    """Return the string that an alternative is in a line of tokens, where it is no more than words."""
    words = alternative.split()
    if not words or any(_IS_NO_WORD.search(word) for word in words) or any(word.endswith("*") for word in words[:-1]):
        return None
    return spaced(" ".join(words))


def is_literal(phrase: str) -> bool:
    """Whether a phrase is found wherever one of the strings of its only part is."""
    body = phrase[1:-1] if re.fullmatch(r"\(.*\)", phrase) else phrase
    return all(literal(alternative) for alternative in split(body))


def spaced(words: str) -> str:
    """Return words as they are in a line of tokens; of a stem with a star, only the stem."""
    return f" {words[:-1]}" if words.endswith("*") and len(words) > 1 else f" {words} "


def _rarest(alternative: str) -> str | None:
    """Return the word of an alternative that is rarest: least common, then longest. None where there is none."""
    words = [
        word
        for word in _ELEMENT.findall(alternative)
        if not word.startswith(("(", "~", "^", "$", "?", "!", ".", ","))
        and not (word.endswith("*") and len(word.rstrip("*")) < SHORT_STEM)
    ]
    return max(words, key=lambda word: (-_common(word), len(word)), default=None)


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


def _common(word: str) -> float:
    """Return how common a word is, roughly: a share of the messages that hold it."""
    return _common_words().get(word, _RARE)


@cache
def _common_words() -> dict[str, float]:
    """Return the words of ``common_words.txt``, in which the place of a word says how common it is."""
    text = (resources.files(__package__) / "common_words.txt").read_text(encoding="utf-8")
    words = [word for line in text.splitlines() if not line.startswith("#") for word in line.split()]
    return {word: 1 / (1 + place / 40) for place, word in enumerate(words)}
