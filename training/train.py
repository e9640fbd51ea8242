"""Train the models that ship with the package: ``make train``.

The same rows and code give the same weights. Models fitted without each fold are kept beside them, in a build folder,
for ``evaluate.py``: nothing is ever scored on a row that it was trained on.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
from datasets import Row, all_rows, data_folder
from fit import fit
from grouping import assign_folds, units_of, unlike
from written import WRITTEN, written_rows

from end_conversation_tool.watch import model
from end_conversation_tool.watch.language import VOCABULARY_FILE
from end_conversation_tool.watch.model import save_models
from end_conversation_tool.watch.ngrams import spell

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = Path(model.__file__).parent


def build_folder() -> Path:
    """Return the folder for models of this state of features and data; it changes when any of them does."""
    sources = [PACKAGE / "ngrams.py", PACKAGE / "normalise.py", PACKAGE / "look_alikes.txt", *WRITTEN.glob("*.txt")]
    sources += [Path(__file__).parent / name for name in ("datasets.py", "fit.py", "grouping.py", "written.py")]
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.read_bytes())
    for path in sorted(data_folder().glob("*.jsonl")):
        digest.update(f"{path.name} {path.stat().st_size}".encode())
    return PROJECT / "build" / "watch" / digest.hexdigest()[:12]


def rows_with_folds() -> list[tuple[Row, int]]:
    """Return every row, labelled and written, with its fold; written ones that are like a labelled one are left out."""
    labelled = all_rows()
    rows = labelled + unlike(list(written_rows()), labelled)
    return list(zip(rows, assign_folds(rows).tolist(), strict=True))


def train(rows: list[tuple[Row, int]], folder: Path) -> None:
    """Fit everything and write the models to ``folder``: ``final.npz`` and one file for each fold."""
    started = time.monotonic()
    fitted = fit([row for row, _ in rows], np.array([fold for _, fold in rows]))
    print(f"{len(rows)} rows, {time.monotonic() - started:.0f} s")
    folder.mkdir(parents=True, exist_ok=True)
    for fold, models in enumerate(fitted.folds):
        save_models(folder / f"fold{fold}.npz", models)
    save_models(folder / "final.npz", fitted.final)


def save_vocabulary(rows: list[tuple[Row, int]], path: Path) -> None:
    """Write the hashes of the words of each language."""
    seen: dict[str, set[int]] = {}
    for row, _ in rows:
        words = [word for word in units_of(row.text) if word[0].isalpha()]
        seen.setdefault(row.lang, set()).update(spell(words)[2].tolist() if words else ())
    languages: dict[int, int] = {}
    for bit, lang in enumerate(names := sorted(seen)):
        for word in seen[lang]:
            languages[word] = languages.get(word, 0) | 1 << bit
    words = np.array(sorted(languages), np.uint32)
    bits = np.array([languages[word] for word in words.tolist()], np.uint16)
    np.savez_compressed(path, allow_pickle=False, words=words, languages=bits, names=np.array(names))


def trained(rows: list[tuple[Row, int]]) -> Path:
    """Return the folder of the models fitted without each fold; trains them where there are none for this state."""
    folder = build_folder()
    if not (folder / "final.npz").exists():
        train(rows, folder)
    return folder


if __name__ == "__main__":
    everything = rows_with_folds()
    save_vocabulary(everything, PACKAGE / VOCABULARY_FILE)
    target = trained(everything)
    shipped = PACKAGE / model.WEIGHTS_FILE
    shipped.write_bytes((target / "final.npz").read_bytes())
    print(f"wrote {shipped.relative_to(PROJECT)}, {shipped.stat().st_size / 1e6:.2f} MB")
