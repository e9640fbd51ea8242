"""The hand-over of the guide runs, and is as short as it says."""

from __future__ import annotations

from pathlib import Path

from support.programs import python_blocks, run_python


def test_the_hand_over_runs(tmp_path: Path) -> None:
    (block,) = python_blocks("docs/operators-guide.md")
    assert run_python(tmp_path, "-c", block) == ["{'customer-42': 'risk_flagged'}"]
    assert len([line for line in block.splitlines() if line.strip()]) <= 20
