"""The block of the guide runs, and its test is really a test."""

from __future__ import annotations

from pathlib import Path

from support.programs import python_blocks, run_python


def test_the_ten_lines_run(tmp_path: Path) -> None:
    blocks = python_blocks("docs/guide-evals.md")
    assert len(blocks) == 1
    assert run_python(tmp_path, "-c", f"{blocks[0]}\ntest_my_agent()\nprint('kept')") == ["kept"]
