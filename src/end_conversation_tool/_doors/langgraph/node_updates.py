"""What nodes that other people wrote take and return: dicts, typed states, commands, or several of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.utils import convert_to_messages
from langgraph.types import Command, Overwrite, Send

from end_conversation_tool._doors.langgraph.messages import with_id

__all__ = ["NodeUpdate", "as_list", "joined", "mapping_of", "messages_in", "read", "sets", "told_in", "with_messages"]


class NodeUpdate:
    """What the user's model node returned, whichever way it says it.

    Attributes:
        reply: The model's message in it, with an id; ``None`` when there is none.
        others: The other messages in it, such as what the node itself asked the user for.
    """

    def __init__(self, output: Any) -> None:
        self._parts = [part if isinstance(part, Command) else mapping_of(part) for part in as_list(output)]
        self._place = self._index = -1
        self._messages: list[Any] = []
        self.reply: AIMessage | None = None
        self.others: list[Any] = []
        for place, part in enumerate(self._parts):
            messages = messages_in(part)
            self.others += [message for message in messages if not isinstance(message, AIMessage)]
            for index, message in enumerate(messages):
                if isinstance(message, AIMessage):
                    self._place, self._index, self._messages = place, index, messages
                    self.reply = messages[index] = with_id(message)

    def update(self, results: list[Any], ours: dict[str, Any], *, stops: bool) -> Any:
        """Return what the node returns in its place.

        Args:
            results: Messages that follow the reply.
            ours: The update of our channels.
            stops: Whether nothing follows: what came after the reply is dropped, and so is every ``goto``.
        """
        parts: list[Any] = list(self._parts)
        if self.reply is not None:
            kept = self._messages[: self._index + 1] if stops else self._messages
            parts[self._place] = _with_messages(parts[self._place], [*kept, *results])
        if stops:
            parts = [part.update or {} if isinstance(part, Command) else part for part in parts]
        if all(isinstance(part, dict) for part in parts) and len(parts) <= 1:
            return {**(parts[0] if parts else {}), **ours}
        return [*(part if isinstance(part, Command) else Command(update=part) for part in parts), Command(update=ours)]


def messages_in(part: Any) -> list[BaseMessage]:
    """Return the messages in an update, or in the input of a run, whichever way it says it."""
    return convert_to_messages(told_in(part))


def told_in(part: Any) -> list[Any]:
    """Return what stands for messages in an update, or in the input of a run, in whichever form it was given."""
    update = part.update if isinstance(part, Command) else part
    pairs = update if isinstance(update, list | tuple) else [("messages", read(update, "messages"))]
    values = [value.value if isinstance(value, Overwrite) else value for key, value in pairs if key == "messages"]
    return [one for value in values if value for one in (value if isinstance(value, list) else [value])]


def sets(part: Any, key: str) -> bool:
    """Whether an update, or the input of a run, writes to a channel, or hands it to a node that it sends to."""
    if isinstance(part, Command):
        sent = part.goto if isinstance(part.goto, list | tuple) else [part.goto]
        return sets(part.update, key) or any(sets(one.arg, key) for one in sent if isinstance(one, Send))
    if isinstance(part, list | tuple):
        return any(one[0] == key for one in part if isinstance(one, list | tuple) and one)
    return read(part, key) is not None


def _with_messages(part: Any, messages: list[Any]) -> Any:
    update: dict[str, Any] = dict((part.update if isinstance(part, Command) else part) or {})
    whole = isinstance(update["messages"], Overwrite)
    update["messages"] = Overwrite(messages) if whole else messages
    return replace(part, update=update) if isinstance(part, Command) else update


def as_list(output: Any) -> list[Any]:
    """Return the parts of what a node returned."""
    if output is None:
        return []
    return list(output) if isinstance(output, (list, tuple)) else [output]


def mapping_of(part: Any) -> dict[str, Any]:
    """Return an update as a dict; a typed one tells what it sets."""
    if isinstance(part, Mapping):
        return dict(part)
    names = getattr(part, "model_fields_set", None) or vars(part)
    return {name: getattr(part, name) for name in names}


def joined(output: Any, changes: dict[str, Any] | None) -> Any:
    """Return what a node returned, with ``changes`` before it."""
    if changes is None:
        return output
    parts = (part if isinstance(part, Command) else Command(update=part) for part in as_list(output))
    return [Command(update=changes), *parts]


def with_messages(state: Any, messages: Sequence[Any]) -> Any:
    """Return a copy of a state of any type with other messages."""
    if isinstance(state, Mapping):
        return {**state, "messages": list(messages)}
    changed = copy(state)
    changed.messages = list(messages)
    return changed


def read(state: Any, key: str) -> Any:
    """Return a channel of a state of any type; ``None`` where it has none."""
    return state.get(key) if isinstance(state, (dict, Mapping)) else getattr(state, key, None)
