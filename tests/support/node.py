"""JavaScript programs that documents show, run with Node.js and LangGraph's own client from npm."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SDK = "@langchain/langgraph-sdk@1"
OLDEST_NODE = 20
INSTALL_SECONDS = 240


def install_sdk(folder: Path) -> Path:
    """Install LangGraph's JavaScript client into a folder, or skip the test where that cannot be done."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("JavaScript clients need Node.js and npm, and this machine lacks one of them")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"JavaScript clients need Node.js {OLDEST_NODE}, and this machine has {version}")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", SDK]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {SDK} within {INSTALL_SECONDS} s")
    if done.returncode:
        pytest.skip(f"npm cannot install {SDK} here: {done.stderr.strip()[-200:]}")
    return folder


def run_node(folder: Path, program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program beside the client, with nothing of this process's environment."""
    (folder / "program.mjs").write_text(program, encoding="utf-8")
    return subprocess.run(
        ["node", "program.mjs"],  # noqa: S607 - the one that install_sdk found
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
