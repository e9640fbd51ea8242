"""The own tests of LangGraph and of LangChain's agents with this package in them: what fails beyond what fails without.

    python benchmarks/peer_suites.py langgraph FOLDER [--tests test_pregel.py ...]
    python benchmarks/peer_suites.py langchain FOLDER [--unprompted]

``FOLDER`` is the one with the peer's ``tests``: ``libs/langgraph`` in a checkout of github.com/langchain-ai/langgraph,
and the unpacked source distribution of ``langchain``. Its tests run on the installed versions, once as they are and
once guarded: a ``SealedSaver`` round each saver, and ``EndConversationMiddleware`` in each ``create_agent``. A model of
a test that knows no tools then ignores the one that it is offered. Each test has a registry of its own.

Needs ``pytest-mock`` and ``syrupy``, for LangGraph ``redis`` and ``pycryptodome``, for LangChain ``blockbuster``,
``langchain-tests`` and ``langchain-openai``, as those tests do. Exits with 1 where anything fails beyond plain.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from langchain import agents
from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.base import BaseCheckpointSaver

from end_conversation_tool import SealedSaver
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.registry import InMemorySealRegistry

__all__ = ["failures"]


class Peer(NamedTuple):
    """Whose tests they are.

    Attributes:
        tests: Those that keep threads, below the folder ``tests``.
        settings: What its pytest is told.
    """

    tests: Sequence[str]
    settings: str


PEERS = {
    "langgraph": Peer(
        (
            "test_pregel.py", "test_pregel_async.py", "test_time_travel.py", "test_time_travel_async.py",
            "test_subgraph_persistence.py", "test_subgraph_persistence_async.py", "test_large_cases.py",
            "test_large_cases_async.py", "test_checkpoint_migration.py", "test_parent_command.py",
            "test_parent_command_async.py", "test_interruption.py", "test_interrupt_migration.py",
            "test_delta_channel_update_state.py", "test_runtime.py", "test_retry.py",
        ),
        "[pytest]\n",
    ),
    "langchain": Peer(("unit_tests/agents",), "[pytest]\nasyncio_mode = auto\n"),
}  # fmt: skip

SAVERS = ("sync_checkpointer", "async_checkpointer")
"""The fixtures of both peers that give a saver."""

_REGISTRY = pytest.StashKey[InMemorySealRegistry]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """As a plugin of the peer's tests: whether the middleware leaves the system prompt alone."""
    parser.addoption("--unprompted", action="store_true")


def pytest_configure(config: pytest.Config) -> None:
    """Guard every agent that the tests create."""
    create, patch = agents.factory.create_agent, pytest.MonkeyPatch()
    options: dict[str, Any] = {"prompt_section": None} if config.getoption("unprompted") else {}

    @wraps(create)
    def guarded(*args: Any, middleware: Sequence[Any] = (), checkpointer: Any = None, **others: Any) -> Any:
        registry = config.stash[_REGISTRY]
        middleware = [*middleware, EndConversationMiddleware(registry=registry, **options)]
        if isinstance(checkpointer, BaseCheckpointSaver) and not isinstance(checkpointer, SealedSaver):
            checkpointer = SealedSaver(checkpointer, registry)
        return create(*args, middleware=middleware, checkpointer=checkpointer, **others)

    config.stash[_REGISTRY] = InMemorySealRegistry()
    patch.setattr(agents, "create_agent", guarded)
    patch.setattr(agents.factory, "create_agent", guarded)
    patch.setattr(BaseChatModel, "bind_tools", lambda model, _tools, **_options: model)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give each test a registry of its own."""
    item.config.stash[_REGISTRY] = InMemorySealRegistry()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[Any, Any, Any]:
    """Put the guard round a saver that a test asks for."""
    made = yield
    if fixturedef.argname not in SAVERS or fixturedef.cached_result is None:
        return made
    guarded = SealedSaver(made, request.config.stash[_REGISTRY])
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
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("folder", type=Path, help="where the peer's folder tests lies")
    parser.add_argument("--tests", nargs="+", help="files or folders in tests")
    parser.add_argument("--unprompted", action="store_true", help="leave the system prompt of the agents alone")
    given = parser.parse_args()
    peer = PEERS[given.peer]
    tests, options = given.tests or peer.tests, ["--unprompted"] if given.unprompted else []
    with TemporaryDirectory() as made:
        folder = Path(made)  # the tests alone: beside them lies another version of what is installed
        shutil.copytree(given.folder / "tests", folder / "tests")
        (folder / "pytest.ini").write_text(peer.settings, encoding="utf-8")
        count, plain = failures(folder, tests)
        again, guarded = failures(folder, tests, "-p", "peer_suites", *options)
    print(f"plain: {len(plain)} of {count} fail; guarded: {len(guarded)} of {again}")
    for name in sorted(guarded - plain):
        print("beyond plain:", name)
    return int(bool(guarded - plain) or count != again)


if __name__ == "__main__":
    sys.exit(main())
