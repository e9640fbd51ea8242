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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from end_conversation_tool._core.content import has_media
from end_conversation_tool._core.ledger import MAX_TURNS
from end_conversation_tool._core.messages import ObservedMessage

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
    """What the user said in one request, oldest first.

    Attributes:
        said: The text of each message, with the message itself.
        trailing: Index of the first that stands after the assistant's last message.
        key: Keys the digests, so that no short text can be guessed from its id.
    """

    said: Sequence[tuple[str, Any]]
    trailing: int
    key: bytes

    def messages(self, start: int = 0) -> Iterator[ObservedMessage]:
        """Yield the messages from ``start`` on, each with its id; from older places they may not be evidence."""
        wanted = {text for text, _ in self.said[start:]}
        times = Counter(text for text, _ in self.said[:start] if text in wanted)
        for index, (text, raw) in enumerate(self.said[start:], start):
            times[text] += 1
            again = f".{times[text]}" if times[text] > 1 else ""
            message_id = f"{_ID_PREFIX}{keyed_digest(text, self.key)}{again}"
            content = raw.get("content") if isinstance(raw, Mapping) else getattr(raw, "content", None)
            own = index >= self.trailing
            yield ObservedMessage("user", text, message_id, raw, evidence=own, media=has_media(content))

    def since(self, heard: Heard) -> tuple[list[ObservedMessage], Heard]:
        """Return what was not heard before, and what is heard now.

        Where the request only adds to the one before, as it does in an ordinary conversation, the rest is hashed and
        not looked at.
        """
        before, fold = self._folds(heard.count)
        start = heard.count if before == heard.fold else 0
        messages = list(self.messages(start))
        here = [_key_of(message) for message in messages]
        gone = set(heard.keys).difference(here)
        kept = [key for key in heard.keys if key in gone]
        known = set(heard.keys)
        fresh = [message for message, key in zip(messages, here, strict=True) if key not in known]
        return fresh, Heard(len(self.said), fold, tuple([*kept, *here][-MAX_TURNS:]))

    def _folds(self, count: int) -> tuple[str, str]:
        """Return digests of the first ``count`` texts (empty when there are fewer) and of all."""
        hasher = blake2b(digest_size=16, key=self.key)
        before = ""
        for index, (text, _) in enumerate(self.said, 1):
            encoded = text.encode("utf-8", "surrogatepass")
            hasher.update(b"%d:%b" % (len(encoded), encoded))
            if index == count:
                before = hasher.hexdigest()
        return before, hasher.hexdigest()


def _key_of(message: ObservedMessage) -> str:
    return message.message_id.removeprefix(_ID_PREFIX)
