"""Texts written for training, where labelled data is scarce: ``written/KIND.LANGUAGE.txt``, one text a line.

Whoever wrote them had not seen the labelled sets, on which the watch is measured; a text that happens to be a
near-duplicate of a labelled row is left out of training all the same. They are never measured on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datasets import Row

WRITTEN = Path(__file__).with_name("written")

_NO = (0, 1.0)
_NO_RISK = {"self_harm": _NO, "violence": _NO}
_JUDGED: dict[str, dict[str, tuple[int, float]]] = {
    "self_harm": {"self_harm": (1, 1.0), "violence": (0, 0.3), "abuse": (0, 0.5)},
    "self_harm_topic": {"self_harm": (1, 0.7), "violence": (0, 0.5), "abuse": (0, 0.5)},
    "violence": {"violence": (1, 1.0), "self_harm": (0, 0.3)},
    "abuse": {**_NO_RISK, "abuse": (1, 0.5)},
    "clean": {**_NO_RISK, "abuse": (0, 0.5)},
    "benign": {**_NO_RISK, "abuse": (0, 0.5)},
    "goodbye": {**_NO_RISK, "abuse": (0, 0.5)},
}
"""For each kind of text, ``model -> (label, weight)``."""

_HARMLESS = {"clean", "benign", "goodbye"}
_ELSEWHERE = 3.0
"""How much more harmless texts count outside English, where there are no labelled ones."""


def written_rows() -> Iterator[Row]:
    """Yield every text, tagged ``written KIND LANGUAGE``."""
    for path in sorted(WRITTEN.glob("*.txt")):
        kind = path.name.split(".")[0]
        judged = _JUDGED[kind]
        labels = {name: label for name, (label, _) in judged.items()}
        telling = 1.0 if kind not in _HARMLESS or path.stem.endswith(".en") else _ELSEWHERE
        weights = {name: weight * telling for name, (_, weight) in judged.items()}
        for line in dict.fromkeys(path.read_text(encoding="utf-8").splitlines()):
            tags = (f"written {path.stem.replace('.', ' ')}",)
            yield Row("written", line.replace("\\n", "\n"), labels, weights, tags, lang=path.stem[-2:])
