"""The model card ships, and says what it must."""

from __future__ import annotations

from importlib import resources
from io import BytesIO

import numpy as np

FOLDER = resources.files("end_conversation_tool.watch")


def test_the_model_card_ships_with_date_licences_and_weaknesses() -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for said in ("2026-11-27", "CC BY 4.0", "MIT", "Known weaknesses", "must not be used for"):
        assert said in card


def test_the_weights_are_small_plain_arrays() -> None:
    content = (FOLDER / "weights.npz").read_bytes()
    assert len(content) < 1_500_000
    with np.load(BytesIO(content), allow_pickle=False) as archive:
        assert {archive[name].dtype.kind for name in archive.files} <= set("ifUb")
