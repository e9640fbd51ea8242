"""``python -m end_conversation_tool.evals``: EndBench with the scripted models, offline, and their page."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from inspect_ai import Task
from inspect_ai import eval as run_tasks
from inspect_ai.log import EvalLog, EvalSample

from end_conversation_tool.evals import _registry as _registry  # noqa: PLC0414 - it makes the scripted models known
from end_conversation_tool.evals.page import page_of, plot_of
from end_conversation_tool.evals.rates import Scored
from end_conversation_tool.evals.scorers import values_of
from end_conversation_tool.evals.sets import data_folder
from end_conversation_tool.evals.tasks import endbench, reader
from end_conversation_tool.readers.prompt import PROMPT_DIGEST
from end_conversation_tool.testing.manners import Manner

EXAMPLE = "in-en-1"
"""The conversation that the page shows: one of the scenarios, not of the frozen set."""

_QUIET: dict[str, Any] = {
    "display": "log",  # which is off; "none" lays out a table that nobody sees
    "log_realtime": False,
    "log_model_api": False,
    "score_display": False,
    "max_samples": 4,
    "fail_on_error": True,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scripted models, print the page, and write it where asked. Returns 0, or 1 where an evaluation failed."""
    options = argparse.ArgumentParser(prog="python -m end_conversation_tool.evals", description=__doc__)
    options.add_argument("--every", type=int, default=1, help="3 for every third conversation of each kind")
    options.add_argument("--logs", type=Path, help="folder for the logs of Inspect; a new temporary one by default")
    options.add_argument("--write", type=Path, help="file to write the page to, with the plot beside it")
    options.add_argument("--price", help="US dollars for a million tokens of a reader, IN/OUT, as in 3/15")
    options.add_argument("--data", help="folder of your own set")
    chosen = options.parse_args(arguments)
    logging.disable(logging.WARNING)
    logs = chosen.logs or Path(mkdtemp(prefix="endbench-"))
    rows: list[Scored] = []
    example = ""
    for manner in Manner:
        for mode in ("raw", "enforce"):
            task = endbench(mode=mode, data=chosen.data, every=chosen.every)
            log = _run(task, f"endbench/{manner}", logs, data=chosen.data)
            rows += _scored(log, str(manner), mode, "endings")
            if manner is Manner.ENDS_EVERYTHING and mode == "enforce":
                example = _shown(log)
    logs_of_readers = _readings(chosen.data, logs, chosen.every, chosen.price)
    readers = [one for name, log in logs_of_readers for one in _scored(log, name, "reader", "reading")]
    plot = None if chosen.write is None else chosen.write.with_suffix(".svg")
    page = page_of(rows, readers, example, chosen.every, None if plot is None else plot.name)
    print(page)  # noqa: T201 - a command's output
    print(f"Logs: inspect view --log-dir {logs}")  # noqa: T201 - as above
    if plot is not None:
        chosen.write.write_text(page, encoding="utf-8")
        plot.write_text(plot_of(rows), encoding="utf-8")
    return 0


def _readings(data: str | None, logs: Path, every: int, price: str | None) -> Iterator[tuple[str, EvalLog]]:
    """Yield each reader's name and log; the recorded one only in a copy of the project, which has the answers."""
    chosen: dict[str, Any] = {"data": data, "every": every, "price": price}
    scripted = f"endbench/{Manner.NEVER_ENDS}"
    yield "scripted", _run(reader(**chosen), scripted, logs, data=data)
    yield "offline", _run(reader(reader="offline", **chosen), scripted, logs, data=data)
    recorded = data_folder(data) / "readings" / f"{PROMPT_DIGEST}.jsonl"
    if recorded.exists():
        yield "recorded", _run(reader(**chosen), "endbench/recorded", logs, data=data, readings=str(recorded))


def _run(task: Task, model: str, logs: Path, **model_args: str | None) -> EvalLog:
    """Run one task.

    Raises:
        SystemExit: It failed.
    """
    given = {name: value for name, value in model_args.items() if value is not None}
    log = run_tasks(task, model=model, model_args=given, log_dir=str(logs), **_QUIET)[0]
    if log.status != "success":
        raise SystemExit(f"{log.eval.task} with {model}: {log.status} {log.error.message if log.error else ''}")
    return log


def _scored(log: EvalLog, model: str, mode: str, scorer: str) -> list[Scored]:
    return [
        Scored(sample.metadata["kind"], sample.metadata["lang"], model, mode, values_of((sample.scores or {})[scorer]))
        for sample in log.samples or ()
    ]


def _shown(log: EvalLog) -> str:
    sample = next((one for one in log.samples or () if one.id == EXAMPLE), None)
    return "" if sample is None else "\n".join(_lines_of(sample))


def _lines_of(sample: EvalSample) -> Iterator[str]:
    for message in sample.messages:
        calls = [f"{call.function}({call.arguments})" for call in getattr(message, "tool_calls", None) or ()]
        said = [message.text, *calls]
        yield f"{message.role}: {' '.join(part for part in said if part)}"
    score = (sample.scores or {})["endings"]
    yield ""
    yield f"score: {score.explanation}"
    yield ", ".join(f"{name} {value:g}" for name, value in values_of(score).items() if value is not None)


if __name__ == "__main__":
    raise SystemExit(main())
