"""What the user said, told apart from what was heard before, where messages have no ids.

The wire of the Messages API gives user messages no ids, and each request brings the whole history again. So:

1. A message is known by its words: its id is a keyed digest of them, and a number when the same words were said before.
2. Nothing that was heard is evidence a second time, whether the history is sent again, shortened or taken back.
3. Whatever was not heard is screened for risk, wherever it stands: editing an old message hides nothing.
4. Only what stands after the assistant's last message is a new user turn.

Where an application shortens its history, words that the user says again are not told from the first time: one turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from end_conversation_tool.detectors.base import ObservedMessage
from end_conversation_tool.ledger import MAX_TURNS

__all__ = ["Heard", "Voices", "keyed_digest"]

_ID_PREFIX = "user-"


def keyed_digest(text: str, key: bytes) -> str:
    """Return 16 hexadecimal digits that stand for a text, and from which only the holder of the key can guess it."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).hexdigest()


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard so far: bounded, however long the conversation grows.

    Attributes:
        count: How many user messages the newest request had.
        fold: Digest of all of them.
        keys: Those heard last, at most ``MAX_TURNS``: evidence that is older counts no more.
    """

    count: int = 0
    fold: str = ""
    keys: tuple[str, ...] = ()

    def dump(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"count": self.count, "fold": self.fold, "keys": " ".join(self.keys)}

    @classmethod
    def load(cls, state: Any) -> Heard:
        """Read what ``dump`` returned; anything else reads as nothing heard, so that all is screened."""
        if not isinstance(state, Mapping):
            return cls()
        count, fold, keys = state.get("count"), state.get("fold"), state.get("keys")
        if not isinstance(count, int) or not isinstance(fold, str) or not isinstance(keys, str):
            return cls()
        return cls(count, fold, tuple(keys.split()))


@dataclass(frozen=True, slots=True)
class Voices:
    """The user messages of one request, oldest first.

    Attributes:
        messages: All of them.
        trailing: Index of the first that stands after the assistant's last message.
    """

    messages: tuple[ObservedMessage, ...]
    trailing: int

    @classmethod
    def of(cls, said: Iterable[tuple[str, Any]], trailing: int, key: bytes) -> Voices:
        """Make it from texts, each with its raw message; by ``key``, no short text can be guessed from its id."""
        times: Counter[str] = Counter()
        messages: list[ObservedMessage] = []
        for text, raw in said:
            digest = keyed_digest(text, key)
            times[digest] += 1
            again = f".{times[digest]}" if times[digest] > 1 else ""
            messages.append(ObservedMessage("user", text, f"{_ID_PREFIX}{digest}{again}", raw))
        return cls(tuple(messages), trailing)

    def unheard(self, heard: Heard) -> list[ObservedMessage]:
        """Return what was not heard before; what stands in older places of the history may not count as evidence."""
        start = heard.count if heard.count and self._fold(heard.count) == heard.fold else 0
        known = set(heard.keys)
        return [
            message if index >= self.trailing else replace(message, evidence=False)
            for index, message in enumerate(self.messages)
            if index >= start and self._key(index) not in known
        ]

    def added_to(self, heard: Heard) -> Heard:
        """Return what was heard once this request was."""
        here = [self._key(index) for index in range(len(self.messages))]
        gone = set(heard.keys).difference(here)
        keys = (*(key for key in heard.keys if key in gone), *here)[-MAX_TURNS:]
        return Heard(len(here), self._fold(len(here)), keys)

    def _key(self, index: int) -> str:
        return self.messages[index].message_id.removeprefix(_ID_PREFIX)

    def _fold(self, count: int) -> str:
        """Return a digest of the first ``count`` messages; empty when there are fewer."""
        if count > len(self.messages):
            return ""
        hasher = blake2b(digest_size=16)
        for message in self.messages[:count]:
            hasher.update(message.message_id.encode() + b" ")
        return hasher.hexdigest()
