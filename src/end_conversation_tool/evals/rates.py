"""Shares with their 95 % intervals (Wilson), and tables of them. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Rate", "Scored", "mean_of", "rate_of", "table"]

_Z = 1.959964
_WHOLE = 100
"""From here on a mean is shown without decimals."""


class Rate(NamedTuple):
    """A share.

    Attributes:
        hits: How often.
        of: Out of how many.
        low: Lower bound of the interval, 0 to 1.
        high: Upper bound of the interval, 0 to 1.
    """

    hits: float
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share, 0 to 1; not a number where there was nothing to count."""
        return self.hits / self.of if self.of else math.nan

    def __str__(self) -> str:
        if not self.of:
            return "-"
        return f"{100 * self.share:.0f} % ({100 * self.low:.0f} to {100 * self.high:.0f})"


@dataclass(frozen=True, slots=True)
class Scored:
    """One conversation with its scores.

    Attributes:
        kind: What it is an example of.
        lang: Language.
        model: Who took part.
        mode: How the tool was given.
        scores: By name; ``None`` where one does not apply.
    """

    kind: str
    lang: str
    model: str
    mode: str
    scores: dict[str, float | None] = field(default_factory=dict)


def rate_of(values: Iterable[float | None]) -> Rate:
    """Return the share of ones among ``values``; what is ``None`` or not a number does not count.

    A value between 0 and 1, such as the mean of several epochs, counts as the part of a hit that it is.
    """
    known = _known(values)
    of, hits = len(known), math.fsum(known)
    if not of:
        return Rate(0.0, 0, 0.0, 1.0)
    share = hits / of
    middle = (share + _Z * _Z / (2 * of)) / (1 + _Z * _Z / of)
    half = _Z * math.sqrt(share * (1 - share) / of + _Z * _Z / (4 * of * of)) / (1 + _Z * _Z / of)
    return Rate(hits, of, max(0.0, middle - half), min(1.0, middle + half))


def mean_of(values: Iterable[float | None]) -> float:
    """Return the mean of what is known of ``values``; not a number where nothing is."""
    known = _known(values)
    return math.fsum(known) / len(known) if known else math.nan


def table(
    rows: Sequence[Scored],
    names: Sequence[str],
    key: Callable[[Scored], str],
    heads: Sequence[str] = (),
    *,
    means: Collection[str] = (),
) -> list[str]:
    """Return a table in Markdown: a line for each group, a column for each score.

    Args:
        rows: The conversations.
        names: The scores.
        key: Tells the group of a conversation.
        heads: What stands above the columns; the names of the scores where empty.
        means: The scores that are numbers, and no shares: their mean is shown.
    """
    groups: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    columns = [*(heads or names)]
    lines = [f"| | conversations | {' | '.join(columns)} |", "|---|" + "---|" * (len(columns) + 1)]
    for name, found in groups.items():
        cells = (_cell([row.scores.get(score) for row in found], mean=score in means) for score in names)
        lines.append(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    return lines


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and not math.isnan(value)]


def _cell(values: Sequence[float | None], *, mean: bool) -> str:
    if not mean:
        return str(rate_of(values))
    number = mean_of(values)
    return "-" if math.isnan(number) else f"{number:,.0f}" if number >= _WHOLE else f"{number:.2g}"
