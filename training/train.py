"""Train the models that ship with the package: ``make train``.

The same rows, phrases and code give the same weights. Models fitted without each fold are kept beside them, in a
build folder, for ``evaluate.py``: nothing is ever scored on a row that it was trained on.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
from datasets import KINDS_ASSISTANT, KINDS_USER, Row, all_rows, data_folder
from fit import ALWAYS, Fitted, fit_role, make_table
from grouping import FOLDS, assign_folds, unlike
from written import WRITTEN, written_rows

from end_conversation_tool.watch import model, text
from end_conversation_tool.watch.model import LinearModels, read_models, save_models

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = Path(text.__file__).parent


def build_folder() -> Path:
    """Return the folder for models of this state of phrases, features and data; it changes when any of them does."""
    sources = [PACKAGE / "ngrams.py", PACKAGE / "normalise.py", *PACKAGE.glob("*.txt"), *PACKAGE.glob("phrases/*.txt")]
    sources += [Path(__file__).parent / name for name in ("datasets.py", "fit.py", "grouping.py", "written.py")]
    sources += WRITTEN.glob("*.txt")
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.read_bytes())
    for path in sorted(data_folder().glob("*.jsonl")):
        digest.update(f"{path.name} {path.stat().st_size}".encode())
    return PROJECT / "build" / "detectors" / digest.hexdigest()[:12]


def train(rows: list[Row], folder: Path) -> None:
    """Fit everything and write the models to ``folder``: ``final.npz`` and one file for each fold."""
    started = time.monotonic()
    folds = assign_folds(rows)
    fitted: dict[str, Fitted] = {}
    for role, kinds in (("user", KINDS_USER), ("assistant", KINDS_ASSISTANT)):
        chosen = [number for number, row in enumerate(rows) if row.role == role]
        labelled = [rows[number] for number in chosen]
        written = unlike([row for row in written_rows() if row.role == role], labelled)
        everywhere = np.full(len(written), ALWAYS)
        table = make_table(labelled + written, np.concatenate([folds[chosen], everywhere]), head=role == "assistant")
        fitted[role] = fit_role(table, kinds)
        print(f"{role}: {len(labelled)} labelled rows, {len(written)} written, {time.monotonic() - started:.0f} s")
    folder.mkdir(parents=True, exist_ok=True)
    for fold in range(FOLDS):
        save_models(folder / f"fold{fold}.npz", fitted["user"].folds[fold], fitted["assistant"].folds[fold])
    save_models(folder / "final.npz", fitted["user"].final, fitted["assistant"].final)


def fold_models(rows: list[Row]) -> list[LinearModels]:
    """Return the models fitted without each fold; trains them where there are none for this state of things."""
    folder = build_folder()
    if not (folder / "final.npz").exists():
        train(rows, folder)
    return [read_models((folder / f"fold{fold}.npz").read_bytes()) for fold in range(FOLDS)]


if __name__ == "__main__":
    everything = all_rows()
    target = build_folder()
    train(everything, target)
    shipped = PACKAGE / model.WEIGHTS_FILE
    shipped.write_bytes((target / "final.npz").read_bytes())
    print(f"wrote {shipped.relative_to(PROJECT)}, {shipped.stat().st_size / 1e6:.2f} MB")
