"""Every error this package raises, in one tree.

    EndConversationError
    |-- ThreadSealedError            a message or a write for a sealed thread
    |-- StaleRunError                a run that was overtaken by a seal, a branch or a reopening
    |-- RegistryError                the registry cannot be read or written
    |   `-- RegistrySchemaError      it can be reached, but is newer, foreign or corrupt
    |-- PolicyConfigurationError     a policy that cannot be used (also a ``ValueError``)
    `-- InvalidInputError            any other bad argument (also a ``ValueError``)

None of them derives from LangGraph's ``GraphBubbleUp``: LangGraph would swallow such an error, and the message
would be let in. A *denied* end is not an error: it is a :class:`~end_conversation_tool._core.records.Decision`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "EndConversationError",
    "InvalidInputError",
    "PolicyConfigurationError",
    "RegistryError",
    "RegistrySchemaError",
    "StaleRunError",
    "ThreadSealedError",
]


class EndConversationError(Exception):
    """Base of every error of this package."""


class ThreadSealedError(EndConversationError):
    """A message, a state update or a write was refused because the thread is sealed.

    Attributes:
        thread_id: The sealed thread.
        conversation_end: What readers of the thread see in its ``conversation_end`` channel: plain JSON with
            ``ended``, ``category``, ``statement``, ``ended_at`` and ``options``.
        statement: The text to show to the user (also ``conversation_end["statement"]``).
    """

    def __init__(self, thread_id: str, conversation_end: Mapping[str, Any]) -> None:
        self.thread_id = thread_id
        self.conversation_end = dict(conversation_end)
        self.statement = str(self.conversation_end.get("statement", ""))
        super().__init__(thread_id, self.conversation_end)

    def __str__(self) -> str:
        return f"thread {_short(self.thread_id)} is sealed and takes no further message. {self.statement}".strip()


class StaleRunError(EndConversationError):
    """A run was refused because the thread moved on under it.

    The run read the thread before a seal, a recorded branch or a reopening, and tried to write after it.
    Nothing of it was written. Start a new run to see the thread as it is.

    Attributes:
        thread_id: The thread.
        held: The sequence number that the run started with.
        current: The sequence number that a write needs now.
    """

    def __init__(self, thread_id: str, *, held: int, current: int) -> None:
        self.thread_id, self.held, self.current = thread_id, held, current
        super().__init__(
            f"thread {_short(thread_id)} has moved on: the run holds sequence {held}, the thread is at {current}. "
            "Nothing was written; start a new run."
        )


class RegistryError(EndConversationError):
    """The registry could not be read or written.

    When a message comes in, the message is refused with this error. When an end is asked for, the end is denied.
    """


class RegistrySchemaError(RegistryError):
    """The registry was reached but holds something else than this version can use: newer, foreign or corrupt."""


class InvalidInputError(EndConversationError, ValueError):
    """An argument is not usable. The message names the field, the value's type, and what is allowed."""


class PolicyConfigurationError(InvalidInputError):
    """A policy is not usable. The message names each field at fault."""


def _short(text: str, limit: int = 80) -> str:
    """Quote ``text`` for an error message, cut to ``limit`` characters."""
    return repr(text if len(text) <= limit else text[:limit] + "...")
