"""Bar charts as SVG, and the look of a page: no script, nothing from elsewhere. Every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["bars", "page", "table"]

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
_WIDTH, _LABEL, _NUMBER, _ROW = 480, 190, 60, 20
_LABEL_CHARS = 30


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


def bars(title: str, series: Mapping[str, Mapping[str, float]]) -> str:
    """Return a chart of horizontal bars, from zero on, each with its number.

    Args:
        title: What it shows.
        series: One or two sets of bars by name, each a number by label. The name of the only one is not shown.
    """
    labels = list(dict.fromkeys(label for counts in series.values() for label in counts))
    most = max((value for counts in series.values() for value in counts.values()), default=0)
    heading = f"<h2>{escape(title)}</h2>"
    if not most:
        return f"<section>{heading}<p>none</p></section>"
    parts: list[str] = []
    for label in labels:
        for colour, (name, counts) in zip(_COLOURS, series.items(), strict=False):
            shown = label if name == next(iter(series)) else ""
            parts.append(_bar(len(parts), shown, counts.get(label, 0), most, colour))
    key = "".join(
        f' <span style="color:{colour}">&#9632;</span> {escape(name)}'
        for colour, name in zip(_COLOURS, series, strict=False)
    )
    legend = f"<p>{key}</p>" if len(series) > 1 else ""
    return (
        f'<section>{heading}{legend}<svg viewBox="0 0 {_WIDTH} {len(parts) * _ROW}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg></section>'
    )


def _bar(row: int, label: str, value: float, most: float, colour: str) -> str:
    top, length = row * _ROW, (_WIDTH - _LABEL - _NUMBER) * value / most
    short = label if len(label) <= _LABEL_CHARS else f"{label[: _LABEL_CHARS - 1]}\N{HORIZONTAL ELLIPSIS}"
    number = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
    return (
        f"<g><title>{escape(label)} {number}</title>"
        f'<text x="{_LABEL - 8}" y="{top + 14}" text-anchor="end">{escape(short)}</text>'
        f'<rect x="{_LABEL}" y="{top + 3}" width="{length:.1f}" height="{_ROW - 6}" fill="{colour}"/>'
        f'<text x="{_LABEL + length + 6:.1f}" y="{top + 14}">{number}</text></g>'
    )
