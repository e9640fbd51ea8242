"""The page of a replay: counts, one chart, and the conversations that somebody may want to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from end_conversation_tool.cli.replay_tally import Replayed, Tally, in_words
from end_conversation_tool.operations.charts import bars, page, table

__all__ = ["replay_page"]


def replay_page(about: Mapping[str, str], tally: Tally, found: Sequence[Replayed]) -> str:
    """Return the page. It quotes the conversations.

    Args:
        about: Policy and reader.
        tally: The counts.
        found: The conversations to show.
    """
    asked = escape(", ".join(f"{name} {value}" for name, value in about.items()))
    turns = {f"turn {turn}": float(count) for turn, count in sorted(tally.end_turns.items())}
    rows = [(one.id, "; ".join(in_words(one.result)), _quotes(one)) for one in found]
    body = (
        f"<p>{asked}</p>{table(('', '', ''), tally.rows(), words=True)}"
        f'<div class="plots">{bars("User turn of the end", {"": turns})}</div>'
        f"<h2>Conversations</h2>{table(('id', 'what would have been', 'what was found'), rows, words=True)}"
    )
    return page("Replay of recorded conversations", body)


def _quotes(one: Replayed) -> str:
    return "; ".join(f"{found.turn} {found.kind}: \u201c{found.quote}\u201d" for found in one.result.findings)
