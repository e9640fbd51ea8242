"""What a user reads: the notice, the statement, a question. One TOML file a language, and the host's own words.

Every notice and statement names help, since no detection reaches everybody: the host's own ``help_text``, or a neutral
sentence about local emergency services.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal, TypeAlias

from end_conversation_tool._core.records import Category, is_storable
from end_conversation_tool.errors import InvalidInputError

__all__ = ["LANGUAGES", "MAX_TEXT_CHARS", "OwnTexts", "Texts"]

_log = logging.getLogger(__name__)

LANGUAGES = ("en", "es", "fr", "de", "pt", "it", "hi", "ar", "zh", "pl", "nl", "id")
"""The languages that there are texts in, as ISO 639-1 codes."""

MAX_TEXT_CHARS = 2_000
"""Longest text of a host, in characters."""

Occasion = Literal["notice", "statement"]
OwnTexts: TypeAlias = Mapping[Occasion, Mapping[Category, str]] | Callable[[Occasion, Category], str]
"""A host's own words: by occasion and category, where some may be missing; or a function that makes them."""

_NO_GAP = frozenset({"zh"})
"""Languages that put no space between two sentences."""


class Texts:
    """The texts of one door.

    Args:
        language: One of ``LANGUAGES``; a region after it is ignored, as in ``pt-BR``.
        own: The host's own words for some of them; see ``OwnTexts``.
        help_text: Who helps, such as the helplines of the host's country, 1 to 2,000 characters; ``None`` for a neutral
            sentence.

    Raises:
        InvalidInputError: An argument is not usable.
    """

    def __init__(self, language: str = "en", *, own: OwnTexts | None = None, help_text: str | None = None) -> None:
        code = language.replace("_", "-").split("-")[0].lower() if isinstance(language, str) else None
        if code not in LANGUAGES:
            got = repr(language) if isinstance(language, str) else type(language).__name__
            raise InvalidInputError(f"language: expected one of {', '.join(LANGUAGES)}, got {got}")
        self.language = code
        self._ours = _load(code)
        self._own = _checked_own(own)
        self._help = self._ours["help"] if help_text is None else _checked("help_text", help_text)

    def notice(self, category: Category) -> str:
        """Return what the user reads before an end for ``category`` becomes possible."""
        return self._told("notice", category) or self._filled(self._ours["notice"][category])

    def statement(self, category: Category, *, operator: bool = False, reviewed: bool = False) -> str:
        """Return what the user reads once the chat has ended.

        Args:
            category: Why it ended.
            operator: Whether the people who run the service ended it, and not the model.
            reviewed: Whether a person has approved the end.
        """
        if told := self._told("statement", category):
            return told
        ours, chosen = self._ours["statement"], category is Category.USER_REQUEST
        # What the user asked for themselves is no automated decision, and nothing to appeal against.
        parts = [ours["operator" if operator else category]]
        if not (chosen or operator or reviewed):
            parts.append(ours["automated"])
        parts += [ours["by_choice"]] if chosen else [ours["appeal"], self._filled(ours["help"])]
        return ("" if self.language in _NO_GAP else " ").join(part.strip() for part in parts)

    @property
    def question(self) -> str:
        """What the app asks a user who wants the end."""
        return str(self._ours["question"])

    @property
    def still_here(self) -> str:
        """What the user reads when a turn ended with too many requests: nobody is left without an answer."""
        return str(self._ours["still_here"])

    def _filled(self, text: str) -> str:
        return text.strip().replace("{help}", self._help)

    def _told(self, occasion: Occasion, category: Category) -> str:
        """Return the host's own words; empty where there are none, or where its function fails."""
        own = self._own
        if own is None:
            return ""
        if isinstance(own, Mapping):
            return own.get(occasion, {}).get(category, "")
        try:
            return _checked("texts", own(occasion, category))
        except Exception as error:  # noqa: BLE001 - the host's own function; the text of the package is told instead
            _log.error("texts: the host's function failed, the text of the package is told: %s", type(error).__name__)
            return ""


@cache
def _load(language: str) -> Mapping[str, Any]:
    file = resources.files(__package__) / f"{language}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _checked_own(own: Any) -> OwnTexts | None:
    if own is None or callable(own):
        return own  # type: ignore[no-any-return] # what it returns is checked when it is called
    if not isinstance(own, Mapping):
        raise InvalidInputError(f"texts: expected a mapping or a function, got {type(own).__name__}")
    checked: dict[Any, dict[Category, str]] = {}
    for occasion, words in own.items():
        if occasion not in ("notice", "statement"):
            raise InvalidInputError(f"texts: expected the keys 'notice' and 'statement', got {occasion!r}")
        if not isinstance(words, Mapping) or not set(words) <= set(Category):
            raise InvalidInputError(f"texts.{occasion}: expected a mapping from categories: {', '.join(Category)}")
        checked[occasion] = {
            Category(category): _checked(f"texts.{occasion}.{category}", text) for category, text in words.items()
        }
    return checked


def _checked(field: str, text: Any) -> str:
    if not isinstance(text, str):
        raise InvalidInputError(f"{field}: expected a str, got {type(text).__name__}")
    if not 1 <= len(text.strip()) <= len(text) <= MAX_TEXT_CHARS:
        raise InvalidInputError(f"{field}: expected 1 to {MAX_TEXT_CHARS:,} characters, got {len(text):,}")
    if not is_storable(text):
        raise InvalidInputError(f"{field}: a text with NUL or a lone surrogate cannot be stored")
    return text
