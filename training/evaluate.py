"""Measure the detectors on every labelled set: ``make eval-detectors``.

Each row is judged by a detector whose models were fitted, and whose thresholds were set, without that row, its
near-duplicates, its conversation and its prompt. Chats that nothing was trained on are judged by the shipped models.
Writes ``docs/evaluation/detectors.md`` and ``detectors.svg``: counts and shares, never a row.
"""

from __future__ import annotations

import hashlib
import platform
import statistics
import time
from collections import Counter
from pathlib import Path

from datasets import KINDS_ASSISTANT, Row, all_rows, crisis_chats
from figures import FIGURES, UNREAD, UNREAD_FIGURES, Figure, Tally, measures, naive_answers
from grouping import FOLDS, assign_folds
from train import PACKAGE, PROJECT, fold_models

from end_conversation_tool.watch import (
    Answer,
    DetectorSuite,
    ObservedMessage,
    SignalKind,
    TextDetector,
    default_detectors,
)
from end_conversation_tool.watch.model import WEIGHTS_FILE

OUTPUT = PROJECT / "docs" / "evaluation"
_NAIVE_USER = ("self_harm", "violence", "abuse")
_BEFORE_AN_END = 4
"""User turns until an end can be permitted by default, at the earliest: three refused ones, and one after a warning."""


def judge(rows: list[Row]) -> tuple[Tally, Tally]:
    """Judge every row with the detector that has not seen it, and with the naive lists."""
    detectors = [TextDetector(models) for models in fold_models(rows)]
    ours, naive = Tally(), Tally()
    for row, fold in zip(rows, assign_folds(rows), strict=True):
        role = "user" if row.role == "user" else "assistant"
        signals = detectors[fold].detect(ObservedMessage(role, row.text, "m"))  # type: ignore[arg-type]
        tags = row.tags + tuple(f"{tag}{UNREAD}" for tag in row.tags if _unread(row.text))
        ours.add(tags, {str(signal.kind): str(signal.answer) for signal in signals})
        naive.add(row.tags, naive_answers(row.text, _NAIVE_USER if role == "user" else KINDS_ASSISTANT))
    return ours, naive


def _unread(text: str) -> bool:
    """Whether a row is of the half that nobody looked at while phrases were written: by a hash of its text."""
    return bool(hashlib.md5(text.encode(), usedforsecurity=False).digest()[-1] % 2)


def judge_chats() -> dict[str, Counter[str]]:
    """Count, for each risk level of the persona, chats flagged at all and flagged before an end was possible."""
    detector = TextDetector()
    found: dict[str, Counter[str]] = {}
    for risk, turns in crisis_chats():
        counts = found.setdefault(risk, Counter())
        flagged, clear = zip(*(_at_risk(detector, turn) for turn in turns), strict=True)
        counts["chats"] += 1
        counts["flagged"] += any(flagged)
        counts["in time"] += any(flagged[:_BEFORE_AN_END])
        counts["safe"] += not all(clear[:_BEFORE_AN_END])
    return found


def _at_risk(detector: TextDetector, text: str) -> tuple[bool, bool]:
    """Return whether a turn is flagged, and whether it is a clear no."""
    signals = {signal.kind: signal for signal in detector.detect(ObservedMessage("user", text, "m"))}
    about_risk = [signals[SignalKind.SELF_HARM], signals[SignalKind.VIOLENCE]]
    flagged = any(signal.answer is Answer.YES for signal in about_risk)
    return flagged, all(signal.answer is Answer.NO and not signal.faint for signal in about_risk)


def milliseconds(rows: list[Row]) -> tuple[float, float]:
    """Return median and 95th percentile of the time of the default suite for a message of 500 characters."""
    suite = default_detectors()
    texts = [row.text[:500] for row in rows if len(row.text) >= 500]
    messages = [ObservedMessage("user" if number % 2 else "assistant", text, "m") for number, text in enumerate(texts)]
    for message in messages[:200]:
        suite.observe(message)
    times = [min(_timed(suite, message) for _ in range(3)) for message in messages[:1000]]
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def _timed(suite: DetectorSuite, message: ObservedMessage) -> float:
    """Return the CPU milliseconds of one message: other processes on the machine do not count."""
    started = time.thread_time()
    suite.observe(message)
    return (time.thread_time() - started) * 1e3


def _share(value: tuple[float, float, float] | None) -> str:
    return "" if value is None else f"{value[0]:.3f} ({value[1]:.3f}-{value[2]:.3f})"


def _line(figure: Figure, ours: Tally, naive: Tally) -> str:
    """Return one line of the table."""
    mine, theirs = measures(ours, figure), measures(naive, figure)
    size = f"{ours.size(figure.positives, figure.kind)} / {ours.size(figure.negatives, figure.kind)}"
    columns = [
        _share(mine.get(name)) for name in ("recall", "recall with doubt", "precision", "F1", "FPR", "FPR with doubt")
    ]
    base = ", ".join(f"{name} {theirs[name][0]:.2f}" for name in ("recall", "F1", "FPR") if name in theirs)
    return f"| {figure.name} | {size} | {' | '.join(columns)} | {_targets(figure, mine)} | {base} |"


def _targets(figure: Figure, mine: dict[str, tuple[float, float, float]]) -> str:
    parts = []
    for name, wanted in figure.target:
        reached = mine[name][0] <= wanted if name == "FPR" else mine[name][0] >= wanted
        sign, outcome = "<=" if name == "FPR" else ">=", "reached" if reached else "missed"
        parts.append(f"{name} {sign} {wanted:g}: {outcome} ({mine[name][0]:.3f})")
    return "; ".join(parts)


def report(ours: Tally, naive: Tally, chats: dict[str, Counter[str]], speed: tuple[float, float]) -> str:
    """Return the report, as Markdown."""
    head = "| what | rows + / - | recall | with doubt | precision | F1 | FPR | with doubt | target | naive list |"
    rule = "|" + "---|" * (head.count("|") - 1)
    lines = [
        "# How well the offline detectors do",
        "",
        "Written by `make eval-detectors`. Each row was judged by models fitted, and thresholds set, without that",
        f"row, its near-duplicates, its conversation and its prompt ({FOLDS} folds). In brackets: 95 % intervals",
        "(Wilson; bootstrap for F1). Recall, F1 and FPR count a *yes* only; *with doubt* counts *don't know* as",
        "well, which, about risk, denies an end just as much, but flags nobody. Not counted here is a *no* that is",
        "not a clear one: it forbids an end for conduct, see composite.md. A naive phrase list, written before",
        "anything was scored, is given beside it.",
        "",
        head,
        rule,
        *(_line(figure, ours, naive) for figure in FIGURES),
        "",
        "## The half of the rows that was not looked at",
        "",
        "While phrases were written, misses in one half of the rows (by a hash of the text) were read. This is the",
        "other half.",
        "",
        head,
        rule,
        *(_line(figure, ours, naive) for figure in UNREAD_FIGURES),
        "",
        "## Whole chats (VERA-MH; nothing was trained on them)",
        "",
        f"*In time*: flagged within the first {_BEFORE_AN_END} user turns: no end can be permitted earlier. *No end",
        "for conduct*: by then, some turn was flagged, in doubt or not a clear no.",
        "",
        "| persona's risk | chats | flagged | in time | no end for conduct |",
        "|---|---|---|---|---|",
        *(
            f"| {risk} | {n['chats']} | {n['flagged']} | {n['in time']} | {n['safe']} |"
            for risk, n in sorted(chats.items())
        ),
        "",
        "## Cost",
        "",
        "All detectors together, a message of 500 characters, CPU time on one core, best of three: median",
        f"{speed[0]:.3f} ms, 95th percentile {speed[1]:.3f} ms ({platform.machine()}, Python",
        f"{platform.python_version()}).",
        f"Weights: {(PACKAGE / WEIGHTS_FILE).stat().st_size / 1e6:.2f} MB.",
        "",
        "![recall and false alarms](detectors.svg)",
        "",
    ]
    return "\n".join(lines)


def plot(ours: Tally, naive: Tally, path: Path) -> None:
    """Draw recall and false-positive rate of every figure that has a target, with the naive list beside it."""
    import matplotlib as mpl  # noqa: PLC0415 - only here
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "end-conversation-tool"
    shown = [figure for figure in FIGURES if figure.target]
    canvas, axes = plt.subplots(1, 2, figsize=(11, 0.32 * len(shown) + 1), sharey=True)
    for axis, name in zip(axes, ("recall", "FPR"), strict=True):
        for label, tally, colour, shift in (
            ("detectors", ours, "tab:blue", 0.15),
            ("naive list", naive, "tab:grey", -0.15),
        ):
            points = [(place, measures(tally, figure).get(name)) for place, figure in enumerate(reversed(shown))]
            known = [(place + shift, value) for place, value in points if value]
            axis.errorbar(
                [value[0] for _, value in known], [place for place, _ in known], fmt="o", color=colour, label=label,
                xerr=[[v[0] - v[1] for _, v in known], [v[2] - v[0] for _, v in known]], markersize=4,
            )  # fmt: skip
        axis.set_title({"recall": "recall", "FPR": "false-positive rate"}[name])
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(shown)), [figure.name for figure in reversed(shown)], fontsize=8)
    axes[1].legend()
    canvas.tight_layout()
    canvas.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    everything = all_rows()
    tallies = judge(everything)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    text = report(*tallies, judge_chats(), milliseconds(everything))
    (OUTPUT / "detectors.md").write_text(text, encoding="utf-8")
    plot(*tallies, OUTPUT / "detectors.svg")
    print(text)
