"""Options that several verbs share, and what becomes of them: a policy, a registry, a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from end_conversation_tool._core.policy import PRESETS, EndConversationPolicy
from end_conversation_tool._core.records import Mode
from end_conversation_tool.errors import InvalidInputError, PolicyConfigurationError

if TYPE_CHECKING:
    from end_conversation_tool.registry import SqlSealRegistry

__all__ = [
    "AsJson",
    "BudgetText",
    "DryRun",
    "MinRedirections",
    "MinRefusals",
    "PolicyMode",
    "PolicyName",
    "PriceText",
    "ReaderName",
    "RegistryUrl",
    "Since",
    "Until",
    "WindowTurns",
    "chosen_policy",
    "moment",
    "opened",
]

_GROUP, _READER_GROUP = "Policy", "Reader"

RegistryUrl = Annotated[
    str,
    typer.Option(
        metavar="URL",
        envvar="END_CONVERSATION_REGISTRY",
        help="As in sqlite:///conversations.db or postgresql+psycopg://user@host/database.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Since = Annotated[
    str | None, typer.Option(metavar="MOMENT", help="From this moment on, as in 2026-03-01 or 2026-03-01T12:00.")
]
Until = Annotated[str | None, typer.Option(metavar="MOMENT", help="Up to this moment; UTC where no zone is given.")]
PolicyName = Annotated[
    str,
    typer.Option(
        "--policy",
        metavar="FILE|PRESET",
        help=f"A .toml or .json file, or one of: {', '.join(PRESETS)}.",
        rich_help_panel=_GROUP,
    ),
]
MinRefusals = Annotated[
    int | None, typer.Option(help="User turns in which the assistant refused.", rich_help_panel=_GROUP)
]
MinRedirections = Annotated[
    int | None, typer.Option(help="User turns in which it offered another way.", rich_help_panel=_GROUP)
]
WindowTurns = Annotated[int | None, typer.Option(help="Newest user turns that count.", rich_help_panel=_GROUP)]
PolicyMode = Annotated[
    Mode | None,
    typer.Option(
        "--mode",
        help="enforce; shadow: decide and record, but show and end nothing; off: deny every call.",
        rich_help_panel=_GROUP,
    ),
]
ReaderName = Annotated[
    str,
    typer.Option(
        "--reader",
        metavar="READER",
        help="Who reads: offline; claude or claude:MODEL (with ANTHROPIC_API_KEY); or package.module:factory, which "
        "gives a reader or a LangChain chat model.",
        rich_help_panel=_READER_GROUP,
    ),
]
BudgetText = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="LIMIT",
        help="The most that reading may use, as in 500000tokens, 100readings or 2.50usd (with --price).",
        rich_help_panel=_READER_GROUP,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Tell what would be read, and about what it would cost; read nothing.",
        rich_help_panel=_READER_GROUP,
    ),
]
PriceText = Annotated[
    str | None,
    typer.Option(
        "--price",
        metavar="IN/OUT[/READ/WRITE]",
        help="US dollars for a million tokens of input and output, and of cache reads and writes.",
        rich_help_panel=_READER_GROUP,
    ),
]


def chosen_policy(name: str, **overrides: Any) -> EndConversationPolicy:
    """Return the policy of a file or a preset, with some of its fields replaced.

    Args:
        name: Name of a preset, or path of a ``.toml`` or ``.json`` file. A preset's name wins.
        overrides: Fields by name; ``None`` leaves a field as it is.

    Raises:
        PolicyConfigurationError: Neither a preset nor a usable file, or a field is out of range.
    """
    changes = {field: value for field, value in overrides.items() if value is not None}
    policy = _named_policy(name)
    return EndConversationPolicy.from_mapping({**policy.model_dump(), **changes}) if changes else policy


def _named_policy(name: str) -> EndConversationPolicy:
    if name in PRESETS:
        return PRESETS[name]
    if Path(name).suffix.lower() in {".toml", ".json"} or "/" in name or "\\" in name:
        return EndConversationPolicy.from_file(name)
    raise PolicyConfigurationError(
        f"policy: expected a .toml or .json file or one of {', '.join(PRESETS)}, got {name[:80]!r}"
    )


@contextmanager
def opened(url: str) -> Iterator[SqlSealRegistry]:
    """Give the registry at a URL; one that is not there is not made."""
    from end_conversation_tool.registry import SqlSealRegistry  # noqa: PLC0415 - verbs without a registry start faster

    with SqlSealRegistry(url, create=False) as registry:
        yield registry


def moment(field: str, text: str) -> datetime:
    """Read a moment, UTC where no zone is given.

    Raises:
        InvalidInputError: It is none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(
            f"{field}: expected a moment, as in 2026-03-01 or 2026-03-01T12:00, got another str"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
