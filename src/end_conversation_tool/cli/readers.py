"""Who reads, what it may use and what it costs: from options of the command line."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from typing import Any

from langchain_core.language_models import BaseChatModel

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers import Meter, ModelReader, Price, Reader, ReadingBudget
from end_conversation_tool.readers.portions import PortionReader

__all__ = ["CLAUDE", "chosen_budget", "chosen_reader"]

CLAUDE = "claude-opus-5-5"
"""The Claude model where none is named."""

_BUDGET = re.compile(r"(\d+(?:\.\d+)?)(tokens|readings|usd)", re.ASCII)


def chosen_budget(text: str | None, price: Price | None) -> ReadingBudget:
    """Read ``--budget``.

    Raises:
        InvalidInputError: It is no number with a unit, or dollars without a price.
    """
    if text is None:
        return ReadingBudget(price=price)
    found = _BUDGET.fullmatch(text)
    if found is None or (found[2] != "usd" and "." in found[1]):
        raise InvalidInputError(f"budget: expected as in 500000tokens, 100readings or 2.50usd, got {text[:80]!r}")
    if found[2] == "usd":
        return ReadingBudget(dollars=float(found[1]), price=price)
    limit = int(found[1])
    if found[2] == "tokens":
        return ReadingBudget(tokens_per_day=limit, price=price)
    return ReadingBudget(readings_per_day=limit, price=price)


def chosen_reader(name: str, budget: ReadingBudget) -> Reader:
    """Return the reader that ``--reader`` names.

    Raises:
        InvalidInputError: There is none of that name, or a limit is set that it cannot keep.
        ImportError: A module or an extra is missing.
    """
    if name == "offline":
        from end_conversation_tool.readers import OfflineReader  # noqa: PLC0415 - loads a model

        offline: Reader = OfflineReader()
        return offline
    kind, _, model = name.partition(":")
    if kind == "claude":
        if not (os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("ANTHROPIC_AUTH_TOKEN")):
            raise InvalidInputError("reader: claude needs the environment variable ANTHROPIC_API_KEY")
        from end_conversation_tool.readers import ClaudeReader  # noqa: PLC0415 - other readers start faster

        return ClaudeReader(model or CLAUDE, budget=budget)
    made = _made(name)
    if isinstance(made, BaseChatModel):
        return ModelReader(made, budget=budget)
    if not isinstance(made, Reader):
        raise InvalidInputError(
            f"reader: expected {name[:80]} to give a reader or a chat model, got {type(made).__name__}"
        )
    if isinstance(made, PortionReader):
        made.meter = Meter(budget)
    elif budget != ReadingBudget(price=budget.price):
        raise InvalidInputError(f"budget: expected none with {type(made).__name__}, which counts nothing")
    return made


def _made(name: str) -> Any:
    """Call a factory of the user's own; modules beside the files that they work on are found too."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise InvalidInputError(
            f"reader: expected offline, claude, claude:MODEL or package.module:factory, got {name[:80]!r}"
        )
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidInputError(f"reader: {name[:80]} cannot be used: {type(error).__name__}: {error}") from error
