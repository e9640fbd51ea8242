"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from support.postgres import postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """One real PostgreSQL for the whole run."""
    with postgres_server() as url:
        yield url
