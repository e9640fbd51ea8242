"""What names a record: ids of threads and records, and the moment."""

from __future__ import annotations

from datetime import UTC, datetime
from secrets import token_hex
from typing import Any
from uuid import UUID

from end_conversation_tool.errors import InvalidInputError

__all__ = ["MAX_THREAD_ID_CHARS", "is_storable", "new_id", "utc_now", "validate_thread_id"]

MAX_THREAD_ID_CHARS = 10_000
"""Longest thread id, in characters."""


def utc_now() -> datetime:
    """Return the present moment, UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """Return a fresh unique id."""
    return token_hex(16)


def validate_thread_id(value: Any) -> str:
    """Return ``value`` as a thread id.

    Ids are compared exactly as given: no case folding, no Unicode normalisation.

    Args:
        value: A string of 1 to 10,000 characters, or an ``int`` or ``UUID``, which LangGraph accepts too.

    Returns:
        The id as a string.

    Raises:
        InvalidInputError: Another type, empty, too long, or with characters that no database stores.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, UUID)):
        raise InvalidInputError(f"thread_id: expected a str, int or UUID, got {type(value).__name__}")
    text = str(value)
    if not 1 <= len(text) <= MAX_THREAD_ID_CHARS:
        raise InvalidInputError(
            f"thread_id: expected 1 to {MAX_THREAD_ID_CHARS:,} characters, got a str of {len(text):,}"
        )
    if not is_storable(text):
        raise InvalidInputError("thread_id: a str with NUL or a lone surrogate cannot be stored")
    return text


def is_storable(text: str) -> bool:
    """Whether every database can store ``text``: no NUL (PostgreSQL), no lone surrogate (not UTF-8)."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return "\x00" not in text
