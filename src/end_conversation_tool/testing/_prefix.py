"""The strict prefix check: a conversation may only grow at its end.

Claude's thinking and every provider's cache are bound to the bytes that come before: tools, then system, then the
messages. A change there is an error for newer models and a cost for all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from end_conversation_tool.testing._tool_checks import ApiError
from end_conversation_tool.testing._wire_checks import as_blocks

__all__ = ["PrefixCheck"]


@dataclass
class _Conversation:
    """Requests that begin with the same user message.

    Attributes:
        head: ``tools`` and ``system`` of the first of them, as JSON.
        branches: The messages of the newest request of each branch.
    """

    head: dict[str, str]
    branches: list[list[Any]] = field(default_factory=list)


class PrefixCheck:
    """Remembers the conversations of one server, and refuses a request that changes what an earlier one sent.

    Two requests belong to one conversation when their first user messages are equal, cache markers aside. Allowed
    are a request that goes on from an earlier one, the same or a shorter one again, and one that edits the user
    message at its own end (a branch). Tests that want two conversations let them begin differently.
    """

    def __init__(self) -> None:
        self._conversations: dict[str, _Conversation] = {}

    def check(self, body: Mapping[str, Any]) -> None:
        """Check one request and remember it.

        Raises:
            ApiError: It says what changed.
        """
        head = {part: _dump(body.get(part)) for part in ("tools", "system")}
        messages = [_normal(message) for message in body["messages"]]
        known = self._conversations.setdefault(_dump(messages[0]), _Conversation(head))
        for part, earlier in known.head.items():
            if head[part] != earlier:
                raise ApiError(f"{part}: changed since an earlier request of this conversation")
        faults = []
        for branch in known.branches:
            fault = _changed_at(branch, messages)
            if fault is None:
                break
            faults.append(fault)
        else:
            if faults:
                raise ApiError(
                    f"messages.{max(faults)}: changed since an earlier request of this conversation; earlier messages "
                    "must be sent again as they were"
                )
        known.branches = [branch for branch in known.branches if messages[: len(branch)] != branch]
        known.branches.append(messages)


def _changed_at(earlier: list[Any], now: list[Any]) -> int | None:
    """Where ``now`` departs from ``earlier``; ``None`` when it goes on from it, repeats it or edits its own end."""
    for index, (before, after) in enumerate(zip(earlier, now, strict=False)):
        if before != after:
            edited = index == len(now) - 1 and _is_said(before) and _is_said(after)
            return None if edited else index
    return None


def _is_said(message: Mapping[str, Any]) -> bool:
    """Whether a message is the user's own, and no result of a tool."""
    return message["role"] == "user" and all(block["type"] != "tool_result" for block in message["content"])


def _normal(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message without cache markers, its content as blocks."""
    return {"role": message["role"], "content": [_unmarked(block) for block in as_blocks(message["content"])]}


def _unmarked(value: Any) -> Any:
    """A value without cache markers."""
    if isinstance(value, Mapping):
        return {key: _unmarked(part) for key, part in value.items() if key != "cache_control"}
    return [_unmarked(part) for part in value] if isinstance(value, list) else value


def _dump(value: Any) -> str:
    """JSON in which order counts, as it does for a cache."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
