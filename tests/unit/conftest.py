"""A thread that talks with the gate, sync and async."""

from __future__ import annotations

import pytest

from support.registries import FlakyRegistry
from support.talk import Talk


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def talk(request: pytest.FixtureRequest) -> Talk:
    return Talk(FlakyRegistry(), asynchronous=request.param)


@pytest.fixture
def registry(talk: Talk) -> FlakyRegistry:
    assert isinstance(talk.registry, FlakyRegistry)
    return talk.registry
