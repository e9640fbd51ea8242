"""Whether a text is in a language that can be read: by its script, and by how many of its words are known.

The words of a language are those of the texts in it that the models were trained on.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from end_conversation_tool.watch.ngrams import spell

__all__ = ["VOCABULARY_FILE", "read_language"]

VOCABULARY_FILE = "vocabulary.npz"
"""Name of the file beside this module: hashes of known ``words``, sorted, and for each a bit for each of ``names``."""

_STRANGE = re.compile(
    "[^\\W\\d_A-Za-z\u00aa-\u024f\u1e00-\u1eff"  # Latin
    "\N{ARABIC LETTER HAMZA}-\N{ARABIC LETTER YEH}"
    "\N{DEVANAGARI LETTER SHORT A}-\N{DEVANAGARI LETTER GLOTTAL STOP}"
    "\u3400-\u9fff]"  # Chinese
)
"""A letter of a script that no covered language is written in."""

_FEW_LETTERS = 3
"""Strange letters from which on a text is in another script: fewer are a formula."""

_KNOWN = 0.6
"""Share of a text's words that must be known in one language."""

_STRANGE_IN_A_ROW = 2
"""Words in a row, in an English text, that are in another language when none of them is known."""


def read_language(text: str, words: Sequence[str]) -> tuple[bool, bool]:
    """Return whether a text can be read, with no part of an English one in another language, and if it is English.

    Args:
        text: The text as it was written.
        words: Its tokens, Chinese ones in pairs of characters.
    """
    said = _said(words)
    known = _known(said)
    best = max(known, key=lambda language: (int(known[language].sum()), language == "en"))
    is_known = bool(said) and bool(known[best].mean() >= _KNOWN)
    # A single strange word in plain letters may be a name.
    few = len(said) <= text.isascii()
    mixed = best == "en" and "0" * _STRANGE_IN_A_ROW in "".join(map(str, known["en"].astype(int)))
    covered = len(_STRANGE.findall(text)) < _FEW_LETTERS and (few or (is_known and not mixed))
    english = not any(map(_is_chinese, words)) if len(said) <= 1 else is_known and best == "en"
    return covered, english


def _said(words: Sequence[str]) -> list[str]:
    """Return the words among the tokens, Chinese ones apart: no other covered language has their characters."""
    return [word for word in words if word[0].isalpha() and not _is_chinese(word)]


def _is_chinese(word: str) -> bool:
    return "\u3400" <= word[0] <= "\u9fff"


def _known(words: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return, for each language, which of the words are known in it."""
    hashes = spell(words)[2] if words else np.zeros(0, np.uint32)
    vocabulary = _vocabulary()
    places = np.searchsorted(vocabulary["words"], hashes).clip(max=len(vocabulary["words"]) - 1)
    languages = np.where(vocabulary["words"][places] == hashes, vocabulary["languages"][places], 0)
    return {str(name): languages >> bit & 1 > 0 for bit, name in enumerate(vocabulary["names"])}


@cache
def _vocabulary() -> dict[str, npt.NDArray[Any]]:
    content = (resources.files(__package__) / VOCABULARY_FILE).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
