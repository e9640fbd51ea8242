"""Options that several verbs share, and how they become a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from end_conversation_tool._core.policy import PRESETS, EndConversationPolicy
from end_conversation_tool._core.records import Mode
from end_conversation_tool.errors import PolicyConfigurationError

__all__ = [
    "AsJson",
    "ConfirmationCalls",
    "JudgeAll",
    "JudgeBudgetText",
    "JudgeName",
    "JudgePriceText",
    "MinRedirections",
    "MinRefusals",
    "MinWarnings",
    "PolicyMode",
    "PolicyName",
    "PolicyNames",
    "RegistryUrl",
    "WindowTurns",
    "chosen_policy",
]

_GROUP, _JUDGE_GROUP = "Policy", "Judge"

RegistryUrl = Annotated[
    str,
    typer.Option(
        metavar="URL",
        envvar="END_CONVERSATION_REGISTRY",
        help="As in sqlite:///conversations.db or postgresql+psycopg://user@host/database.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
PolicyName = Annotated[
    str,
    typer.Option(
        "--policy",
        metavar="FILE|PRESET",
        help=f"A .toml or .json file, or one of: {', '.join(PRESETS)}.",
        rich_help_panel=_GROUP,
    ),
]
PolicyNames = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="FILE|PRESET",
        help=f"A .toml or .json file, or one of: {', '.join(PRESETS)}; else the first. Twice to compare.",
        rich_help_panel=_GROUP,
    ),
]
MinRefusals = Annotated[int | None, typer.Option(help="User turns with a refusal.", rich_help_panel=_GROUP)]
MinRedirections = Annotated[int | None, typer.Option(help="User turns with another offer.", rich_help_panel=_GROUP)]
MinWarnings = Annotated[int | None, typer.Option(help="Earlier turns with a warning.", rich_help_panel=_GROUP)]
WindowTurns = Annotated[int | None, typer.Option(help="Newest user turns that count.", rich_help_panel=_GROUP)]
ConfirmationCalls = Annotated[int | None, typer.Option(help="Consecutive calls for an end.", rich_help_panel=_GROUP)]
PolicyMode = Annotated[Mode | None, typer.Option("--mode", help="How far to go.", rich_help_panel=_GROUP)]
JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="JUDGE",
        help="Ask a second model: claude, claude:MODEL (with ANTHROPIC_API_KEY), or package.module:factory, which "
        "gives a judge or a LangChain chat model.",
        rich_help_panel=_JUDGE_GROUP,
    ),
]
JudgeBudgetText = Annotated[
    str | None,
    typer.Option(
        "--judge-budget",
        metavar="LIMIT",
        help="The most that it may use, as in 100calls, 500000tokens or 2.50usd; then it fails.",
        rich_help_panel=_JUDGE_GROUP,
    ),
]
JudgePriceText = Annotated[
    str | None,
    typer.Option(
        "--judge-price",
        metavar="IN/OUT[/READ/WRITE]",
        help="US dollars for a million tokens of input and output, and of cache reads and writes; for the cost.",
        rich_help_panel=_JUDGE_GROUP,
    ),
]
JudgeAll = Annotated[
    bool,
    typer.Option(
        "--judge-all",
        help="Ask it about every conversation at its last user turn, not only where an end would be permitted.",
        rich_help_panel=_JUDGE_GROUP,
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
