"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from support.postgres import postgres_server
from support.strict_wire import StrictWire

_wire = pytest.StashKey[StrictWire]()


def pytest_configure(config: pytest.Config) -> None:
    """Count requests from the first test on."""
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    config.stash[_wire] = StrictWire(patch)


@pytest.fixture(autouse=True)
def strict_wire(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test whose requests the API would refuse."""
    yield from request.config.stash[_wire].check(request.node)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many requests there were, and how many of them were malformed."""
    terminalreporter.write_line(config.stash[_wire].summary())


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """One real PostgreSQL for the whole run."""
    with postgres_server() as url:
        yield url
