"""LangGraph's own tests with a ``SealedSaver`` round each of their savers, and what fails beyond what fails without.

    python benchmarks/peer_suites.py LANGGRAPH [--tests test_pregel.py ...]

``LANGGRAPH`` is a checkout of github.com/langchain-ai/langgraph. Its tests run on the installed versions, in memory and
on SQLite, once as they are and once guarded, each test with a registry of its own. Needs ``pytest-mock``, ``syrupy``,
``redis`` and ``pycryptodome``, as those tests do. Exits with 1 where anything fails beyond plain.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from end_conversation_tool import SealedSaver
from end_conversation_tool.registry import InMemorySealRegistry

__all__ = ["failures"]

SAVERS = ("sync_checkpointer", "async_checkpointer")
"""The peer's fixtures that give a saver."""

TESTS = (
    "test_pregel.py", "test_pregel_async.py", "test_time_travel.py", "test_time_travel_async.py",
    "test_subgraph_persistence.py", "test_subgraph_persistence_async.py", "test_large_cases.py",
    "test_large_cases_async.py", "test_checkpoint_migration.py", "test_parent_command.py",
    "test_parent_command_async.py", "test_interruption.py", "test_interrupt_migration.py",
    "test_delta_channel_update_state.py", "test_runtime.py", "test_retry.py",
)  # fmt: skip
"""Those that keep threads."""


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[Any, Any, Any]:
    """As a plugin of the peer's tests: put the guard round a saver that one of them asks for."""
    del request
    made = yield
    if fixturedef.argname not in SAVERS or fixturedef.cached_result is None:
        return made
    guarded = SealedSaver(made, InMemorySealRegistry())
    fixturedef.cached_result = (guarded, *fixturedef.cached_result[1:])
    return guarded


def failures(folder: Path, tests: Sequence[str], *options: str) -> tuple[int, set[str]]:
    """Run the peer's tests, and return how many there are, and the names of those that fail."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", f"--junitxml={report}"]
    subprocess.run(
        [*command, *options, *(f"tests/{name}" for name in tests)],
        cwd=folder,
        env={**os.environ, "NO_DOCKER": "true", "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    cases = list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314 - pytest has just written it
    failed = [one for one in cases if one.find("failure") is not None or one.find("error") is not None]
    return len(cases), {f"{one.get('classname')}::{one.get('name')}" for one in failed}


def main() -> int:
    """Compare, and print what is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("langgraph", type=Path, help="a checkout of langgraph")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="names of files in libs/langgraph/tests")
    given = parser.parse_args()
    with TemporaryDirectory() as made:
        folder = Path(made)  # the tests alone: beside them lies another version of what is installed
        shutil.copytree(given.langgraph / "libs" / "langgraph" / "tests", folder / "tests")
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        count, plain = failures(folder, given.tests)
        again, guarded = failures(folder, given.tests, "-p", "peer_suites")
    print(f"plain: {len(plain)} of {count} fail; guarded: {len(guarded)} of {again}")
    for name in sorted(guarded - plain):
        print("beyond plain:", name)
    return int(bool(guarded - plain) or count != again)


if __name__ == "__main__":
    sys.exit(main())
