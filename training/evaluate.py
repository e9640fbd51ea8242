"""Measure the watch and the offline reader on every labelled set: ``make eval-watch``.

Each message is looked at with models that were fitted without it, its near-duplicates and its conversation. Prints
shares, never a row: paste them into the model card.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections import Counter
from pathlib import Path

from datasets import Row, crisis_chats, read, replies
from train import rows_with_folds, trained

from end_conversation_tool._core.messages import Role
from end_conversation_tool._core.reading import Line, Reading, ReadingCase
from end_conversation_tool._core.vocabulary import EvidenceKind, RiskGrade
from end_conversation_tool.readers.offline import OfflineReader
from end_conversation_tool.watch import RiskWatch, TextWatcher, default_watch
from end_conversation_tool.watch.model import read_models

ORDINARY = ("xstest safe", "humanebench", "coconot", "convabuse clean")
_GRADES = (RiskGrade.CLEAR, RiskGrade.POSSIBLE)


def grades(rows: list[tuple[Row, int]], folder: Path) -> dict[str, Counter[RiskGrade]]:
    """Count the grades of each group of messages."""
    watches: dict[int, RiskWatch] = {}
    found: dict[str, Counter[RiskGrade]] = {}
    for row, fold in rows:
        if fold not in watches:
            models = read_models((folder / f"fold{fold}.npz").read_bytes())
            watches[fold] = RiskWatch([TextWatcher(models)])
        grade = watches[fold].look([row.text]).grade
        for tag in row.tags:
            found.setdefault(tag, Counter())[grade] += 1
    return found


def crisis() -> dict[str, Counter[RiskGrade]]:
    """Count, for each level of risk of the persona, the surest grade in chats that nothing was trained on."""
    found: dict[str, Counter[RiskGrade]] = {}
    for risk, turns in crisis_chats():
        seen = {default_watch().look([turn]).grade for turn in turns}
        surest = next((grade for grade in _GRADES if grade in seen), RiskGrade.NONE)
        found.setdefault(f"crisis chats: {risk}", Counter())[surest] += 1
    return found


def said(kind: EvidenceKind) -> dict[str, float]:
    """Return the share of each kind of labelled reply in which the offline reader finds something."""
    found: dict[str, list[bool]] = {}
    for name, text in replies():
        reading = OfflineReader().read(ReadingCase((Line("m1", "assistant", text, "m1", 1),)))
        found.setdefault(name, []).append(any(finding.kind is kind for finding in reading.findings))
    return {name: statistics.mean(shares) for name, shares in found.items()}


def conversations() -> Counter[tuple[str, bool, RiskGrade]]:
    """Count whole conversations in English: whether they should end and why not, enough found, and the risk seen."""
    counts: Counter[tuple[str, bool, RiskGrade]] = Counter()
    for chat in read("dramas_sample"):
        if chat["lang"] == "en" and not (chat["kind"] == "warranted" and chat["category"] != "abuse"):
            reading, turns = _read(chat["turns"])
            counts[chat["kind"], _is_enough(reading, turns), reading.risk] += 1
    return counts


def _read(turns: list[dict[str, str]]) -> tuple[Reading, int]:
    roles: tuple[Role, Role] = ("user", "assistant")
    lines = tuple(
        Line(f"{role}{number}", role, turn[role], "", number)
        for number, turn in enumerate(turns, 1)
        for role in roles
        if turn[role]
    )
    return OfflineReader().read(ReadingCase(lines)), len(turns)


def _is_enough(reading: Reading, turns: int) -> bool:
    """Whether three refusals, two other offers and abuse in the newest message were found."""
    labels = {kind: {one.label for one in reading.findings if one.kind is kind} for kind in EvidenceKind}
    refused, offered = len(labels[EvidenceKind.REFUSAL]), len(labels[EvidenceKind.REDIRECTION])
    return refused >= 3 and offered >= 2 and f"user{turns}" in labels[EvidenceKind.ABUSE]


def milliseconds(rows: list[tuple[Row, int]]) -> tuple[float, float]:
    """Return median and 95th percentile of the CPU time for a message of 500 characters."""
    texts = [row.text[:500] for row, _ in rows if len(row.text) >= 500][:300]
    times = []
    for text in texts * 2:
        started = time.thread_time()
        default_watch().look([text])
        times.append((time.thread_time() - started) * 1e3)
    times = times[len(texts) :]
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def report() -> str:
    """Measure everything and return it as text."""
    rows = rows_with_folds()
    found = grades(rows, trained(rows)) | crisis()
    found["ordinary, together"] = sum((found[tag] for tag in ORDINARY), Counter())
    lines = ["| messages | number | clear | clear or possible |", "|---|---|---|---|"]
    for tag, counts in sorted(found.items()):
        total, clear = counts.total(), counts[RiskGrade.CLEAR]
        lines.append(f"| {tag} | {total} | {clear / total:.4f} | {(clear + counts[RiskGrade.POSSIBLE]) / total:.3f} |")
    for kind in (EvidenceKind.REFUSAL, EvidenceKind.REDIRECTION):
        lines += [f"{kind} in {name}: {share:.3f}" for name, share in said(kind).items()]
    lines += [
        f"{kind}, enough {enough}, risk {risk}: {number}" for (kind, enough, risk), number in conversations().items()
    ]
    median, slow = milliseconds(rows)
    lines.append(f"500 characters: median {median:.2f} ms, 95th percentile {slow:.2f} ms ({platform.machine()})")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
