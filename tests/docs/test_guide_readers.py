"""Every block of the guide runs, one after the other, in one program."""

from __future__ import annotations

from pathlib import Path

from support.programs import python_blocks, run_python


def test_the_guide_runs(tmp_path: Path) -> None:
    blocks = python_blocks("docs/guide-readers.md")
    assert len(blocks) == 1
    assert run_python(tmp_path, "-c", "\n".join(blocks)) == ["0 0.0"]
