"""The labelled rows that the watch is trained on and measured with.

They are read from the folder named by the environment variable ``END_CONVERSATION_DATA``, else from
``../shared/data`` beside the project. They are never copied: only weights and counts leave this folder.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("self_harm", "violence", "abuse")


@dataclass(slots=True)
class Row:
    """One labelled text.

    Attributes:
        source: Name of the data set.
        text: The text judged.
        labels: For each kind, 0 or 1; a kind that the set does not label is absent.
        weights: For each kind, how much the row counts in training; absent means that it is not trained on.
        tags: Names of the evaluation groups it belongs to.
        group: What must not be split between training and evaluation, besides near-duplicates: a conversation, a
            prompt.
        lang: Its language, a code of two letters.
    """

    source: str
    text: str
    labels: dict[str, int] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    group: str = ""
    lang: str = "en"


def data_folder() -> Path:
    """Return the folder with the data sets; ends the program with a message where there is none."""
    folder = Path(os.environ.get("END_CONVERSATION_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not any(folder.glob("*.jsonl")):
        print("skipped: no labelled data. Set END_CONVERSATION_DATA to the folder that holds the *.jsonl files.")
        sys.exit(0)
    return folder


def read(name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of one data set as they are in its file; none where the file is absent."""
    path = data_folder() / f"{name}.jsonl"
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines)


def _row(source: str, text: str, tags: tuple[str, ...], **judged: tuple[int, float]) -> Row:
    """Make a row of a user's text. Each kind gets ``(label, weight)``."""
    labels = {kind: label for kind, (label, _) in judged.items()}
    weights = {kind: weight for kind, (_, weight) in judged.items() if weight}
    return Row(source, text, labels, weights, tags)


def benign_rows() -> Iterator[Row]:
    """Yield ordinary prompts and counselling questions: false alarms are counted on them."""
    no, never = (0, 1.0), (0, 3.0)
    for row in read("xstest_prompts"):
        if row["label"] == "safe":
            yield _row(
                "xstest_prompts",
                row["text"],
                ("xstest safe",),
                self_harm=no,
                violence=no,
                abuse=never,
            )
    for row in read("humanebench_prompts"):
        yield _row("humanebench", row["text"], ("humanebench",), self_harm=no, violence=no, abuse=never)
    for row in read("coconot_contrast"):
        yield _row("coconot", row["text"], ("coconot",), self_harm=no, violence=no, abuse=never)
    for row in read("counsel_chat"):
        yield _row(
            "counsel_chat", row["text"], ("counsel_chat",), self_harm=(0, 0.1), violence=(0, 0.5), abuse=(0, 3.0)
        )
    for row in read("bailbench"):
        tag = "bailbench ordinary" if row["label"] == "ordinary" else "bailbench"
        yield _row("bailbench", row["text"], (tag,), abuse=(0, 0.5))


def risk_rows() -> Iterator[Row]:
    """Yield texts with labels of self-harm risk, or of aggression to others."""
    for row in read("cssrs_suicidewatch_posts"):
        severity = int(row["orig"]["severity"])
        tags = ("suicidewatch 0",) if not severity else ("suicidewatch >=1", "suicidewatch >=3")[: 1 + (severity >= 3)]
        # Posts without ideation come from the same forum for people in crisis: a little evidence of risk, not against.
        weight = 2.0 if severity >= 3 else 1.0 if severity else 0.2
        yield _row("suicidewatch", row["text"], tags, self_harm=(1, weight), violence=(0, 0.3), abuse=(0, 0.5))
    for row in read("psysuicide_zh"):
        yield _psysuicide(row)
    for row in read("ailuminate_demo"):
        hazard, lang = row["orig"]["hazard"], row["lang"]
        topic = int(hazard == "ssh")
        tag = (
            f"ailuminate self-harm {lang}"
            if topic
            else ("ailuminate violent" if hazard == "vcr" else "ailuminate other")
        )
        violence = (0, 0.0) if hazard == "vcr" else (0, 0.3)
        made = _row(
            "ailuminate",
            row["text"],
            (tag,),
            self_harm=(topic, 1.0),
            violence=violence,
            abuse=(0, 0.3),
        )
        made.lang = lang
        yield made
    for row in read("openai_moderation"):
        given = row["orig"].get("SH")
        if str(given) in {"0", "1"}:
            label = int(given)
            tag = "openai self-harm" if label else "openai not self-harm"
            yield _row(
                "openai_moderation",
                row["text"],
                (tag,),
                self_harm=(label, 1.0),
            )


def _psysuicide(row: dict[str, Any]) -> Row:
    classes = str(row["orig"]["labels"])
    aggression = int("user_aggression" in classes)
    risk = int(row["label"] == "risk")
    sure = float(row["label"] != "unsure")
    tags = {"risk": ("psysuicide risk",), "no_risk": ("psysuicide no risk",)}.get(row["label"], ())
    if "aggression" in classes:
        tags += ("psysuicide aggression",) if aggression else ("psysuicide aggression by others",)
    only_aggression = aggression and "ideation" not in classes and "suicide" not in classes
    self_harm = (risk, 0.3 * sure if only_aggression else sure)
    made = _row("psysuicide", row["text"], tags, self_harm=self_harm, violence=(aggression, sure), abuse=(0, 0.2))
    made.lang = "zh"
    return made


def _violence_weight(functionality: str, threat: int, hateful: int) -> float:
    if functionality.startswith(("target_indiv", "target_group")):
        return 0.0
    return 1.0 if threat or not hateful else 0.4


def hate_rows() -> Iterator[Row]:
    """Yield functional tests and posts with threats, slurs and profanity."""
    for name, weight, every in (("hatecheck", 1.0, 1), ("multilingual_hatecheck", 0.5, 6)):
        for number, row in enumerate(read(name)):
            kept = float(number % every == 0)  # ten translations of the same cases are enough as other kinds' negatives
            threat = int("threat" in row["orig"]["functionality"])
            hateful = int(row["label"] == "hateful")
            suffix = "" if name == "hatecheck" else f" {row['lang']}"
            tag = ("threats" if threat else "hateful, no threat" if hateful else "not hateful") + suffix
            # Threats to single people, or to groups of no protected kind, are labelled "not hateful": no negatives.
            violence = (threat, weight * _violence_weight(row["orig"]["functionality"], threat, hateful))
            made = _row(
                name, row["text"], (f"hatecheck {tag}",), self_harm=(0, 0.3 * kept), violence=violence,
                abuse=(hateful, (0.05 if hateful else 0.1) * kept),
            )  # fmt: skip
            made.lang = row["lang"]
            yield made
    for row in read("edos"):
        threat = int(row["label"] == "threat")
        tag = "edos threats" if threat else "edos not sexist" if row["label"] == "not_sexist" else "edos sexist"
        violence = (threat, 0.7 if threat else 0.5)
        yield _row("edos", row["text"], (tag,), self_harm=(0, 0.5), violence=violence)


def abuse_rows() -> Iterator[Row]:
    """Yield user turns to a bot, with expert labels of abuse."""
    for row in read("convabuse"):
        mean, label = row["orig"]["mean"], row["label"]
        tags = {"abusive": ("convabuse abusive",), "not_abusive": ("convabuse clean",)}.get(label, ("convabuse tie",))
        if mean <= -1.5:
            tags += ("convabuse severe",)
        abusive = int(label == "abusive")
        clean = float(label == "not_abusive")
        made = _row(
            "convabuse",
            row["text"],
            tags,
            self_harm=(0, clean),
            violence=(0, 0.5 * clean),
            abuse=(abusive, 0.0 if label == "tie" else 1.0),
        )
        made.group = str(row["orig"]["conv_id"])
        yield made


def replies() -> Iterator[tuple[str, str]]:
    """Yield replies of assistants, each with the name of its set and its label."""
    for name in ("xstest_completions", "chatgpt_refusals"):
        for row in read(name):
            yield f"{name} {row['label']}", row["messages"][-1]["content"]


def all_rows() -> list[Row]:
    """Return every row, in a fixed order."""
    parts = (benign_rows, risk_rows, hate_rows, abuse_rows)
    return [row for part in parts for row in part()]


def crisis_chats() -> Iterator[tuple[str, list[str]]]:
    """Yield simulated crisis chats: the persona's risk, and the user's turns in order."""
    for row in read("vera_mh"):
        yield row["orig"]["risk"], [turn["content"] for turn in row["messages"] if turn["role"] == "user"]
