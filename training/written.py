"""Texts written for training, where labelled data is scarce: ``written/KIND.LANGUAGE.txt``, one text a line.

Whoever wrote them had not seen the labelled sets, on which the detectors are measured; a text that happens to be a
near-duplicate of a labelled row is left out of training all the same. They are never measured on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datasets import Row

WRITTEN = Path(__file__).with_name("written")

_NO = (0, 1.0)
_NO_SELF_HARM = {"self_harm": _NO, "self_harm_topic": _NO, "self_harm_wide": _NO}
_NO_RISK = {**_NO_SELF_HARM, "violence": (0, 0.5), "violence_wide": _NO}
_NOT_SELF_HARM = {"self_harm": (0, 0.3), "self_harm_topic": (0, 0.3), "self_harm_wide": (0, 0.3)}
_TOPIC = {"self_harm_topic": (1, 1.0), "violence_wide": (0, 0.5), "abuse": (0, 0.5)}
_USER: dict[str, dict[str, tuple[int, float]]] = {
    "self_harm": {"self_harm_wide": (1, 1.0), "violence_wide": (0, 0.3), "abuse": (0, 0.5)},
    "self_harm_topic": {"self_harm": (1, 0.7), "self_harm_wide": (1, 0.7), **_TOPIC},
    "violence": {"violence_wide": (1, 1.0), **_NOT_SELF_HARM},
    "abuse": {**_NO_RISK, "abuse": (1, 0.5)},
    "clean": {**_NO_RISK, "abuse": (0, 0.5)},
    "benign": {**_NO_RISK, "abuse": (0, 0.5)},
    "goodbye": {**_NO_RISK, "abuse": (0, 0.5)},
}
_HARMLESS = {"clean", "benign", "goodbye"}
_ELSEWHERE = 3.0
"""How much more harmless texts count outside English, where there are no labelled ones."""

_ASSISTANT: dict[str, dict[str, tuple[int, float]]] = {
    "refusal": {"refusal": (1, 0.3), "redirection": (0, 0.1)},
    "redirection": {"refusal": (1, 0.3), "redirection": (1, 0.1)},
    "compliance": {"refusal": (0, 0.3), "redirection": (0, 0.1)},
}
"""For each kind of text, ``model -> (label, weight)``.

Some models are of the labelled sets where those suffice; the wide ones see every text, and answer *don't know* where
the others say no. ``violence`` has no written threats: the sets count one to a single person, or to no protected group,
as none, and these texts as one. ``self_harm`` has the requests: the others go by hints that sadness shares.
"""


def written_rows() -> Iterator[Row]:
    """Yield every text, without tags: it is in no figure."""
    for path in sorted(WRITTEN.glob("*.txt")):
        kind, role = path.name.split(".")[0], "assistant" if path.name.split(".")[0] in _ASSISTANT else "user"
        judged = (_USER | _ASSISTANT)[kind]
        labels = {name: label for name, (label, _) in judged.items()}
        telling = 1.0 if kind not in _HARMLESS or path.stem.endswith(".en") else _ELSEWHERE
        weights = {name: weight * telling for name, (_, weight) in judged.items()}
        for line in dict.fromkeys(path.read_text(encoding="utf-8").splitlines()):
            yield Row("written", line.replace("\\n", "\n"), role, labels, weights)
