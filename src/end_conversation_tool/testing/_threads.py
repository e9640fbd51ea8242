"""Message threads, a beta of the API: the server holds the conversation, a turn sends its new messages only.

The tool runner of the ``anthropic`` package uses them unless it is told not to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from end_conversation_tool.testing._tool_checks import ApiError

__all__ = ["MessageThreads"]

_BETA = "message-threads-"
_CREATE_ONLY = ("system", "tools")
"""What a turn that continues a thread may leave out; the server has it from the first."""


class MessageThreads:
    """The conversations that one server holds, each by the id of its newest message."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, Any]] = {}
        self._continued: set[str] = set()

    def whole(self, body: Mapping[str, Any], betas: str) -> dict[str, Any]:
        """Write a request as if no thread held a part of it.

        Args:
            body: The request.
            betas: The ``anthropic-beta`` header.

        Raises:
            ApiError: It continues a thread that is not there, was continued already, or was created otherwise.
        """
        wanted = body.get("thread")
        whole = {key: value for key, value in body.items() if key != "thread"}
        if wanted is None:
            return whole
        if _BETA not in betas:
            raise ApiError("thread: Extra inputs are not permitted")
        if wanted.get("type") == "create":
            return whole
        name = str(wanted.get("previous_message_id"))
        if name in self._continued:
            raise ApiError("The previous message has already been continued", code="thread_already_continued")
        if name not in self._open:
            raise ApiError("Thread not found", status=404, error_type="not_found_error", code="thread_not_found")
        held = self._open[name]
        if changed := [key for key in _CREATE_ONLY if key in body and body[key] != held.get(key)]:
            raise ApiError(f"{', '.join(changed)}: differs from the thread's", code="thread_fingerprint_mismatch")
        kept = {key: held[key] for key in _CREATE_ONLY if key in held}
        messages = body.get("messages")
        return {**kept, **whole, "messages": [*held["messages"], *messages] if isinstance(messages, list) else messages}

    def answered(self, body: Mapping[str, Any], whole: Mapping[str, Any], message: Mapping[str, Any]) -> None:
        """Hold the conversation under the id of its newest message, if the request asked for it.

        Args:
            body: The request.
            whole: The same without a thread, as :meth:`whole` gave it.
            message: The answer.
        """
        wanted = body.get("thread")
        if wanted is None:
            return
        self._continued.add(str(wanted.get("previous_message_id")))
        said = [{"role": "assistant", "content": message["content"]}] if message["content"] else []
        self._open[message["id"]] = {**whole, "messages": [*whole["messages"], *said]}
