"""Whether a text is in a language that can be read: by its script, and by how many of its words are known.

The words of a language are those of the texts in it that the models were trained on.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

from end_conversation_tool.watch.ngrams import spell

__all__ = ["VOCABULARY_FILE", "is_covered", "is_english"]

VOCABULARY_FILE = "vocabulary.npz"
"""Name of the file with the hashes of the known words of each language, sorted, beside this module."""

_STRANGE = re.compile(
    "[^\\W\\d_a-z\N{LATIN SMALL LETTER SHARP S}-\N{LATIN SMALL LETTER EZH WITH CARON}"
    "\N{ARABIC LETTER HAMZA}-\N{ARABIC LETTER YEH}\N{DEVANAGARI LETTER SHORT A}-\N{DEVANAGARI LETTER GLOTTAL STOP}"
    "\u3400-\u9fff]"
)
"""A letter of a script that no covered language is written in."""

_FEW_LETTERS = 3
"""Strange letters from which on a text is in another script: fewer are a formula."""

_KNOWN = 0.5
"""Share of a text's words that must be known in one language."""

_STRANGE_IN_A_ROW = 2
"""Words in a row, in an English text, that are in another language when none of them is known."""


def is_covered(words: Sequence[str], *, latin: bool) -> bool:
    """Whether a text is in a language that can be read, and no part of an English one in another.

    Args:
        words: Its tokens, Chinese ones in pairs of characters.
        latin: Whether it was written in plain Latin letters: there, a single strange word may be a name.
    """
    if len(_STRANGE.findall(" ".join(words))) >= _FEW_LETTERS:
        return False
    said = _said(words)
    if len(said) <= latin:
        return True
    known = _known(said)
    best = max(known, key=lambda language: int(known[language].sum()))
    if best == "en" and re.search("0" * _STRANGE_IN_A_ROW, "".join(map(str, known["en"].astype(int)))):
        return False
    return bool(known[best].mean() >= _KNOWN)


def is_english(words: Sequence[str]) -> bool:
    """Whether a text is in English, or too short to tell."""
    said = _said(words)
    if len(said) <= 1:
        return not any(map(_is_chinese, words))
    return bool(_known(said)["en"].mean() >= _KNOWN)


def _said(words: Sequence[str]) -> list[str]:
    """Return the words among the tokens, Chinese ones apart: no other covered language has their characters."""
    return [word for word in words if word[0].isalpha() and not _is_chinese(word)]


def _is_chinese(word: str) -> bool:
    return "\u3400" <= word[0] <= "\u9fff"


def _known(words: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return, for each language, which of the words are known in it."""
    hashes = spell(words)[2]
    places = {lang: np.searchsorted(known, hashes).clip(max=len(known) - 1) for lang, known in _vocabularies().items()}
    return {lang: known[places[lang]] == hashes for lang, known in _vocabularies().items()}


@cache
def _vocabularies() -> dict[str, npt.NDArray[np.uint32]]:
    content = (resources.files(__package__) / VOCABULARY_FILE).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
