"""The blocks of the guide run, and their tests are really tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.programs import python_blocks, run_python


@pytest.mark.parametrize("name", ["test_my_agent", "test_my_loop"])
def test_the_ten_lines_run(name: str, tmp_path: Path) -> None:
    (block,) = (one for one in python_blocks("docs/guide-evals.md") if f"def {name}" in one)
    assert run_python(tmp_path, "-c", f"{block}\n{name}()\nprint('kept')") == ["kept"]
