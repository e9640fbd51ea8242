"""Counts, over a whole test run, the requests to local Messages API servers, and those that the API would refuse."""

from __future__ import annotations

from typing import Any

import pytest

from end_conversation_tool.testing import MessagesApiServer

__all__ = ["MARK", "StrictWire"]

MARK = "malformed_requests"
"""Marks tests that send malformed requests on purpose: theirs are not counted."""


class StrictWire:
    """Notes what each server of the run has seen when it closes, whoever opened it.

    Attributes:
        requests: How many there were.
        refused: What was wrong with each that was refused.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.requests = 0
        self.refused: list[str] = []
        self._meant = False
        leave = MessagesApiServer.__exit__

        def closing(server: MessagesApiServer, *error: Any) -> None:
            leave(server, *error)
            if not self._meant:
                self.requests += len(server.requests)
                self.refused += server.errors

        patch.setattr(MessagesApiServer, "__exit__", closing)

    def check(self, item: pytest.Item) -> Any:
        """Let a test run, and fail where one of its servers has refused a request that was not meant to be."""
        self._meant = item.get_closest_marker(MARK) is not None
        before = len(self.refused)
        yield
        self._meant = False
        assert self.refused[before:] == [], "requests that the API would refuse"

    def summary(self) -> str:
        """Return the figures as one line."""
        return f"Messages API: {self.requests} requests, {len(self.refused)} of them malformed"
