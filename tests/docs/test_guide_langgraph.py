"""Every block of the LangGraph guide runs, one after the other, in one program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_guide_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "guide-langgraph.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == text.count("```") // 2 == 4
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:end_conversation_tool", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    greeting, question, category, ended = done.stdout.splitlines()
    assert greeting == "Good morning!"
    assert question.startswith("End this chat?")
    assert (category, ended) == ("user_request", "True")
