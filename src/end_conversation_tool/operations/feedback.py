"""Feedback and appeals, kept in the registry and passed on to LangSmith where the host has a run and a client."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from end_conversation_tool._core.operations import Appeal, Feedback
from end_conversation_tool.registry.operations_protocol import ExperimentRegistry

__all__ = [
    "APPEAL_KEY",
    "FEEDBACK_KEY",
    "FeedbackClient",
    "agive_feedback",
    "aopen_appeal",
    "give_feedback",
    "open_appeal",
]

_log = logging.getLogger(__name__)

FEEDBACK_KEY = "end_conversation_rating"
APPEAL_KEY = "end_conversation_appeal"


class FeedbackClient(Protocol):
    """What is used of a ``langsmith.Client``."""

    def create_feedback(self, *, run_id: Any, key: str, score: float | None, comment: str | None) -> Any:
        """Attach feedback to a run."""
        ...


def give_feedback(
    registry: ExperimentRegistry,
    thread_id: str,
    *,
    rating: int,
    comment: str = "",
    run_id: Any = None,
    client: FeedbackClient | None = None,
) -> Feedback:
    """Keep feedback, and pass it on to LangSmith when both a run and a client are given.

    Args:
        registry: A registry of this package.
        thread_id: The thread.
        rating: 1 to 5; LangSmith gets it as a score from 0 to 1.
        comment: The user's words, at most 2,000 characters.
        run_id: The run that the feedback is about.
        client: A ``langsmith.Client``. What it raises is logged: the feedback is kept anyhow.

    Raises:
        InvalidInputError: An argument is not usable. Nothing was kept or passed on.
    """
    given = registry.give_feedback(thread_id, rating=rating, comment=comment)
    _forward(client, run_id, FEEDBACK_KEY, (given.rating - 1) / 4, given.comment)
    return given


async def agive_feedback(
    registry: ExperimentRegistry,
    thread_id: str,
    *,
    rating: int,
    comment: str = "",
    run_id: Any = None,
    client: FeedbackClient | None = None,
) -> Feedback:
    """Async twin of ``give_feedback``; the client is called in a thread of its own."""
    given = await registry.agive_feedback(thread_id, rating=rating, comment=comment)
    await asyncio.to_thread(_forward, client, run_id, FEEDBACK_KEY, (given.rating - 1) / 4, given.comment)
    return given


def open_appeal(
    registry: ExperimentRegistry,
    thread_id: str,
    *,
    text: str,
    run_id: Any = None,
    client: FeedbackClient | None = None,
) -> Appeal:
    """Open an appeal, and pass it on as ``give_feedback`` does, without a score."""
    opened = registry.open_appeal(thread_id, text=text)
    _forward(client, run_id, APPEAL_KEY, None, opened.text)
    return opened


async def aopen_appeal(
    registry: ExperimentRegistry,
    thread_id: str,
    *,
    text: str,
    run_id: Any = None,
    client: FeedbackClient | None = None,
) -> Appeal:
    """Async twin of ``open_appeal``."""
    opened = await registry.aopen_appeal(thread_id, text=text)
    await asyncio.to_thread(_forward, client, run_id, APPEAL_KEY, None, opened.text)
    return opened


def _forward(client: FeedbackClient | None, run_id: Any, key: str, score: float | None, comment: str) -> None:
    if client is None or run_id is None:
        return
    try:
        client.create_feedback(run_id=run_id, key=key, score=score, comment=comment or None)
    except Exception as error:  # noqa: BLE001 - kept in the registry already
        _log.warning("feedback could not be passed on: %s", type(error).__name__)
