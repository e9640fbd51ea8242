"""Bar charts as SVG, and the look of a page: no script, nothing from elsewhere. Every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple, TypeAlias

__all__ = ["Measured", "bars", "page", "picture", "table"]

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1c2430; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
p { color: #4a5565; margin-top: .3rem; max-width: 60rem; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #dde2ea; text-align: right; vertical-align: top; }
th:first-child, td:first-child, .words td { text-align: left; }
td { overflow-wrap: anywhere; }
thead th { background: #f3f5f9; font-size: 12px; }
td.part { padding-left: 1.8rem; }
.scroll { overflow-x: auto; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(28rem, 100%), 1fr)); gap: 0 2rem; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; }
"""
_COLOURS = ("#2f5d8a", "#d9822b")
_WIDTH, _LABEL, _NUMBER, _ROW, _TITLE = 480, 190, 60, 20, 30
_LABEL_CHARS, _CHAR = 30, 7
_FONT = "12px system-ui, sans-serif"


class Measured(NamedTuple):
    """A number with its interval, which is drawn as a line.

    Attributes:
        value: The number.
        low: Lower bound.
        high: Upper bound.
    """

    value: float
    low: float
    high: float


Series: TypeAlias = Mapping[str, Mapping[str, float | Measured]]
"""One or two sets of bars by name, each a number by label."""


def page(title: str, body: str) -> str:
    """Return a page; ``body`` is HTML already, ``title`` is text."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False) -> str:
    """Return a table. A row whose first cell begins with a space is a part of the one above.

    Args:
        head: A title for each column.
        rows: Their cells.
        words: Whether the cells hold words and not numbers.
    """
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    kind = ' class="words"' if words else ""
    return (
        f'<div class="scroll"><table{kind}><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(map(_row, rows))}</tbody></table></div>"
    )


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    kind = ' class="part"' if first.startswith(" ") else ""
    return f"<tr><td{kind}>{escape(first.strip())}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in others)}</tr>"


def bars(title: str, series: Series) -> str:
    """Return a chart of horizontal bars, from zero on, each with its number.

    Args:
        title: What it shows.
        series: One or two sets of bars by name, each a number by label. The name of the only one is not shown.
    """
    most = _most(series)
    heading = f"<h2>{escape(title)}</h2>"
    if not most:
        return f"<section>{heading}<p>none</p></section>"
    parts = _bars_of(series, most)
    key = "".join(
        f' <span style="color:{colour}">&#9632;</span> {escape(name)}'
        for colour, name in zip(_COLOURS, series, strict=False)
    )
    legend = f"<p>{key}</p>" if len(series) > 1 else ""
    return (
        f'<section>{heading}{legend}<svg viewBox="0 0 {_WIDTH} {len(parts) * _ROW}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg></section>'
    )


def picture(charts: Mapping[str, Series], *, most: float) -> str:
    """Return charts one below the other as an image of its own, an SVG file, with one key for all.

    Args:
        charts: By title; all with the same names of sets.
        most: Where all axes end.
    """
    key, start = [], _LABEL
    for colour, name in zip(_COLOURS, next(iter(charts.values()), {}), strict=False):
        key.append(f'<rect x="{start}" y="8" width="12" height="12" fill="{colour}"/>')
        key.append(f'<text x="{start + 18}" y="18">{escape(name)}</text>')
        start += 36 + _CHAR * len(name)
    body, top = [], _ROW
    for title, series in charts.items():
        parts = _bars_of(series, most)
        body.append(f'<text x="{_LABEL}" y="{top + 22}" font-weight="bold">{escape(title)}</text>')
        body.append(f'<g transform="translate(0 {top + _TITLE})">{"".join(parts)}</g>')
        top += _TITLE + len(parts) * _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 10}" width="{1.5 * _WIDTH:.0f}" '
        f'role="img" aria-label="{escape(", ".join(charts))}" style="font: {_FONT}" fill="#1c2430">'
        '<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join([*key, *body]) + "\n</svg>\n"
    )


def _most(series: Series) -> float:
    return max((_value(number) for counts in series.values() for number in counts.values()), default=0)


def _value(number: float | Measured) -> float:
    return number.value if isinstance(number, Measured) else number


def _bars_of(series: Series, most: float) -> list[str]:
    """Return a bar for each label and set, the label beside the first."""
    parts: list[str] = []
    for label in dict.fromkeys(label for counts in series.values() for label in counts):
        for colour, (name, counts) in zip(_COLOURS, series.items(), strict=False):
            shown = label if name == next(iter(series)) else ""
            parts.append(_bar(len(parts), shown, counts.get(label, 0), most, colour))
    return parts


def _bar(row: int, label: str, number: float | Measured, most: float, colour: str) -> str:
    value, scale = _value(number), (_WIDTH - _LABEL - _NUMBER) / most
    top, length, end, span = row * _ROW, scale * value, scale * value, ""
    if isinstance(number, Measured):
        end = scale * number.high
        line = f"M{_LABEL + scale * number.low:.1f} {top + _ROW // 2}H{_LABEL + end:.1f}"
        span = f'<path d="{line}" stroke="#1c2430" stroke-width="1.5"/>'
    short = label if len(label) <= _LABEL_CHARS else f"{label[: _LABEL_CHARS - 1]}\N{HORIZONTAL ELLIPSIS}"
    told = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
    return (
        f"<g><title>{escape(label)} {told}</title>"
        f'<text x="{_LABEL - 8}" y="{top + 14}" text-anchor="end">{escape(short)}</text>'
        f'<rect x="{_LABEL}" y="{top + 3}" width="{length:.1f}" height="{_ROW - 6}" fill="{colour}"/>{span}'
        f'<text x="{_LABEL + end + 6:.1f}" y="{top + 14}">{told}</text></g>'
    )
