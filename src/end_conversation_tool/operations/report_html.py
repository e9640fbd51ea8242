"""The report as one HTML page that needs nothing else: plots by plotly, whose script is in the page (``[plot]``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from end_conversation_tool.operations.report import Figures, Report
from end_conversation_tool.operations.report_rows import ROWS, name_of, shown

__all__ = ["report_page"]

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 100rem; padding: 0 1rem; color: #1c2430; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p { color: #4a5565; margin-top: .3rem; max-width: 60rem; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid #dde2ea; text-align: right; }
th:first-child, td:first-child { text-align: left; }
thead th { background: #f3f5f9; font-size: 12px; vertical-align: bottom; }
td:first-child { min-width: 11rem; }
td.part { padding-left: 1.8rem; }
.scroll { overflow-x: auto; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); gap: 1rem; }
.plots > div { min-width: 0; }
"""
_ENFORCED, _SHADOW, _NEUTRAL = "#2f5d8a", "#d9822b", "#6b7a90"

_SOURCES = {
    "host": "The number of threads was given by the host.",
    "counted": "The number of threads is what the registry counted: threads that began in the period.",
    "unknown": "The number of threads is not known, so there are no rates: give it, or have threads counted.",
}


def report_page(report: Report) -> str:
    """Return the page.

    Raises:
        ImportError: The extra ``[plot]`` is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError("an HTML report needs the extra [plot]: pip install 'end-conversation-tool[plot]'") from error
    title = f"Ended conversations, {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC"
    plots = "".join(f"<div>{plot}</div>" for plot in _plots(report))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><script>{get_plotlyjs()}</script></head><body>"
        f"<h1>{escape(title)}</h1><p>{escape(_SOURCES[report.thread_source])} "
        f"Reopened by operators: {report.reopened}. Circuit breaker tripped: {report.breaker_trips}.</p>"
        f'<div class="scroll">{_table(report)}</div><div class="plots">{plots}</div></body></html>\n'
    )


def _table(report: Report) -> str:
    columns = (report.total, *report.groups)
    head = "".join(f"<th>{escape(name_of(figures))}</th>" for figures in columns)
    rows = "".join(_row(title, [shown(read(figures)) for figures in columns]) for title, read in ROWS)
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(title: str, cells: Sequence[str]) -> str:
    kind = ' class="part"' if title.startswith(" ") else ""
    return f"<tr><td{kind}>{escape(title.strip())}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _plots(report: Report) -> Sequence[str]:
    groups = report.groups or (report.total,)
    names = [name_of(figures) for figures in groups]
    rated = report.thread_source != "unknown" and any(figures.threads for figures in groups)
    return (
        _bars(
            "Ended threads for each 10,000" if rated else "Ended threads",
            {
                "enforced": (names, [_height(figures, rated=rated) for figures in groups], _ENFORCED),
                "would have ended": (names, [_height(figures, rated=rated, would=True) for figures in groups], _SHADOW),
            },
            horizontal=True,
        ),
        _bars("Denials by condition", {"": _pairs(report.total.denials_by_condition)}, horizontal=True),
        _bars("Denials because of risk, by kind", {"": _pairs(report.total.vetoes_by_risk)}, horizontal=True),
        _bars(
            "User turn of the end",
            {
                "enforced": (*_split(report.total.turns_to_end.threads), _ENFORCED),
                "would have ended": (*_split(report.total.turns_to_would_have_ended.threads), _SHADOW),
            },
        ),
        _bars(
            "Warnings",
            {
                "given": (names, [figures.warnings for figures in groups], _NEUTRAL),
                "heeded": (names, [figures.warnings_heeded for figures in groups], _ENFORCED),
            },
            horizontal=True,
        ),
        _bars(
            "Feedback by rating", {"": (*_split({**dict.fromkeys(range(1, 6), 0), **report.total.feedback}), _NEUTRAL)}
        ),
    )


def _height(figures: Figures, *, rated: bool, would: bool = False) -> float:
    if rated:
        return (figures.would_have_ended_per_10_000 if would else figures.ends_per_10_000) or 0
    return figures.would_have_ended_threads if would else figures.ended_threads


def _pairs(counts: Mapping[str, int]) -> tuple[list[Any], list[Any], str]:
    return list(counts), list(counts.values()), _NEUTRAL


def _split(counts: Mapping[int, int]) -> tuple[list[Any], list[Any]]:
    return list(counts), list(counts.values())


def _bars(title: str, series: Mapping[str, tuple[list[Any], list[Any], str]], *, horizontal: bool = False) -> str:
    """Return one plot as HTML; names are text there, never markup."""
    from plotly import graph_objects  # noqa: PLC0415 - an extra

    figure = graph_objects.Figure()
    for name, (labels, values, colour) in series.items():
        # Plotly reads a few HTML tags in labels, and would turn others into text by itself.
        named = [escape(label) if isinstance(label, str) else label for label in labels]
        x, y = (values, named) if horizontal else (named, values)
        figure.add_bar(x=x, y=y, name=name, orientation="h" if horizontal else "v", marker_color=colour)
    figure.update_layout(
        title=title,
        template="plotly_white",
        barmode="group",
        height=380,
        margin={"l": 60, "r": 20, "t": 60, "b": 60},
        showlegend=len(series) > 1,
        legend={"orientation": "h", "y": -0.12, "x": 0},
    )
    figure.update_yaxes(automargin=True, autorange="reversed" if horizontal else None)
    figure.update_xaxes(automargin=True)
    if not any(value for _, values, _ in series.values() for value in values):
        figure.add_annotation(text="none", showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    page: str = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True}
    )
    return page
