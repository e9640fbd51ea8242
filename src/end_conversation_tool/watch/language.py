"""Whether a text is in a language that can be read: by its script, and by how many of its words are known.

Words are known that occur more than once in the texts that the models were trained on, in any of twelve languages.
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
"""Name of the file with the hashes of the known words, beside this module: ``english`` and ``covered``, sorted."""

_STRANGE = re.compile(
    "[^\\W\\d_a-z\N{LATIN SMALL LETTER SHARP S}-\N{LATIN SMALL LETTER EZH WITH CARON}"
    "\N{ARABIC LETTER HAMZA}-\N{ARABIC LETTER YEH BARREE}\N{DEVANAGARI LETTER SHORT A}-\N{DEVANAGARI LETTER GLOTTAL STOP}"
    "\u3400-\u9fff]"
)
"""A letter of a script that no covered language is written in."""

_FEW_LETTERS = 3
"""Strange letters from which on a text is in another script: fewer are a formula."""

_KNOWN = 0.5
_ENGLISH = 0.6
"""Share of a text's words that must be known."""


def is_covered(words: Sequence[str], *, latin: bool) -> bool:
    """Whether a text can be read.

    Args:
        words: Its tokens, Chinese ones in pairs of characters.
        latin: Whether it was written in plain Latin letters: there, a single strange word may be a name.
    """
    if len(_STRANGE.findall(" ".join(words))) >= _FEW_LETTERS:
        return False
    said = [word for word in words if word.isalpha()]
    return len(said) <= latin or _share(said, "covered") >= _KNOWN


def is_english(words: Sequence[str]) -> bool:
    """Whether a text is in English, or too short to tell."""
    said = [word for word in words if word.isalpha()]
    return len(said) <= 1 or _share(said, "english") >= _ENGLISH


def _share(words: Sequence[str], vocabulary: str) -> float:
    hashes = spell(words)[2]
    known = _vocabularies()[vocabulary]
    places = np.searchsorted(known, hashes).clip(max=len(known) - 1)
    return float(np.mean(known[places] == hashes))


@cache
def _vocabularies() -> dict[str, npt.NDArray[np.uint32]]:
    content = (resources.files(__package__) / VOCABULARY_FILE).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
