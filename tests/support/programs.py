"""Programs that documents show: their blocks of code, and a run of them in a folder, as a reader would do it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python_blocks(document: str) -> list[str]:
    """Return the Python blocks of a document, named from the root of the project."""
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text("utf-8"), re.DOTALL)


def run_python(folder: Path, *arguments: str, **environment: str) -> list[str]:
    """Run Python in a folder, with nothing of this process's environment, and return the lines that it printed."""
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=known | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
