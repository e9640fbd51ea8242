"""Play the set through the real middleware, and write what became of it: docs/evaluation/README.md.

The model that takes part says what the conversation holds, and asks for the end where the set says so, rightly or not.
Who reads is a recorded large language model: its answers to this package's own prompts stand in ``readings/``, by the
digest of the prompt and of the transcript. They are served by a local server that speaks the Messages API, and so pass
through the real ``anthropic`` client, the real ``ClaudeReader``, the checks, the decision and the seal.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anthropic import Anthropic
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool import (
    ClaudeReader,
    EndConversationPolicy,
    InMemorySealRegistry,
    OfflineReader,
    Reader,
    RiskWatch,
    SealedSaver,
    default_watch,
)
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.readers.prompt import PROMPT_DIGEST, digest_of_rows
from end_conversation_tool.testing import MessageReply, MessagesApiServer, ScriptedChatModel, end_call

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "evaluation" / "README.md"
KINDS = ("warranted", "at_risk", "no_grounds")
TRANSCRIPT_CHARS = 16
"""Length of the digest by which a recorded answer is known."""


@dataclass(frozen=True)
class Played:
    """One conversation as it came out."""

    row: dict[str, Any]
    noticed: bool
    ended: bool
    flagged: bool
    unmet: tuple[tuple[str, ...], ...]
    findings: int
    dropped: int


def conversations() -> list[dict[str, Any]]:
    """Return the set."""
    files = sorted((HERE / "conversations").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def script_of(row: dict[str, Any]) -> Callable[[list[Any]], str | AIMessage]:
    """Return what the assistant of a conversation says and asks for; denied, it says nothing more in that turn."""

    def reply(messages: list[Any]) -> str | AIMessage:
        turn = row["turns"][sum(isinstance(message, HumanMessage) for message in messages) - 1]
        if isinstance(messages[-1], ToolMessage):
            return ""
        text = turn["assistant"] or ""
        return end_call(row["category"], "It goes on.", text) if turn["asks"] else text

    return reply


def play(row: dict[str, Any], reader: Reader, watch: RiskWatch, policy: EndConversationPolicy) -> Played:
    """Play one conversation through a real agent."""
    registry = InMemorySealRegistry()
    guard = EndConversationMiddleware(registry=registry, reader=reader, watch=watch, policy=policy, sinks=())
    saver = SealedSaver(InMemorySaver(), registry)
    agent: Any = create_agent(ScriptedChatModel(script_of(row)), middleware=[guard], checkpointer=saver)
    thread = {"configurable": {"thread_id": row["id"]}}
    for turn in row["turns"]:
        agent.invoke({"messages": [HumanMessage(turn["user"])]}, thread)
    decisions = registry.decisions(row["id"])
    status = registry.status(row["id"])
    readings = [record.reading for record in decisions if record.reading is not None]
    return Played(
        row,
        noticed=any(record.outcome == "noticed" for record in decisions),
        ended=status.sealed,
        flagged=status.at_risk,
        unmet=tuple(tuple(map(str, record.decision.unmet)) for record in decisions),
        findings=sum(reading.found for reading in readings),
        dropped=sum(reading.dropped for reading in readings),
    )


@contextmanager
def recorded_reader() -> Iterator[ClaudeReader]:
    """Give the real reader and client before a local server that answers as recorded."""
    file = HERE / "readings" / f"{PROMPT_DIGEST}.jsonl"
    if not file.exists():
        raise SystemExit(f"no recorded answers to this wording of the prompt ({PROMPT_DIGEST}): record them anew")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    answers = {row["transcript"]: row["report"] for row in rows}

    def answer(body: dict[str, Any]) -> MessageReply:
        question = body["messages"][0]["content"]
        mark = question.split("TRANSCRIPT ", 1)[1].split(" ", 1)[0]
        inside = question.split(f"TRANSCRIPT {mark} BEGINS\n", 1)[1].rsplit(f"\nTRANSCRIPT {mark} ENDS", 1)[0]
        return MessageReply(json.dumps(answers[digest_of_rows(inside)[:TRANSCRIPT_CHARS]], ensure_ascii=False))

    with (
        MessagesApiServer(answer) as server,
        Anthropic(base_url=server.base_url, api_key="local", max_retries=0) as client,
    ):
        yield ClaudeReader("recorded", client=client, max_retries=0)
        if server.errors:
            raise SystemExit(f"the server refused {len(server.errors)} requests: {server.errors[0]}")


def wilson(hits: int, of: int) -> str:
    """Return a share with its 95 % interval (Wilson), in percent."""
    if not of:
        return "-"
    z, share = 1.96, hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return f"{100 * share:.1f} % ({max(0.0, 100 * (middle - half)):.1f} to {min(100.0, 100 * (middle + half)):.1f})"


def table(played: Sequence[Played], key: Callable[[Played], str]) -> list[str]:
    """Return a table of what became of each group."""
    groups: dict[str, list[Played]] = defaultdict(list)
    for one in played:
        groups[key(one)].append(one)
    lines = ["| | conversations | notice given | ended | risk flagged |", "|---|---|---|---|---|"]
    for name, found in sorted(groups.items(), key=lambda item: _order(item[0])):
        shares = (sum(getattr(one, what) for one in found) for what in ("noticed", "ended", "flagged"))
        lines.append(f"| {name} | {len(found)} | " + " | ".join(wilson(hits, len(found)) for hits in shares) + " |")
    return lines


def _order(name: str) -> tuple[int, str]:
    return next((place for place, kind in enumerate(KINDS) if name.startswith(kind)), len(KINDS)), name


def reasons(played: Iterable[Played]) -> str:
    """Return why nothing was ended, by the codes of the last request."""
    counts = Counter(code for one in played if not one.ended and one.unmet for code in one.unmet[-1])
    return ", ".join(f"{code} {count}" for code, count in counts.most_common()) or "none"


def watched(watch: RiskWatch) -> list[str]:
    """Return what the watch makes of single messages."""
    ordinary, others = (_rows(HERE / name) for name in ("ordinary.jsonl", "messages.jsonl"))
    lines = ["| messages | number | flags | doubts |", "|---|---|---|---|"]
    for name, chosen in (
        ("ordinary, first set", ordinary),
        ("of these: harmless words near to danger", [row for row in ordinary if row["twin"]]),
        ("ordinary, second set", [row for row in others if row["kind"] == "ordinary"]),
        ("abusive, nobody at risk", [row for row in others if row["kind"] == "abusive"]),
        ("somebody at risk", [row for row in others if row["kind"] == "risk"]),
    ):
        grades = Counter(str(watch.look([row["text"]]).grade) for row in chosen)
        count = len(chosen)
        lines.append(f"| {name} | {count} | {wilson(grades['clear'], count)} | {wilson(grades['possible'], count)} |")
    return lines


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def section(title: str, played: Sequence[Played], note: str) -> list[str]:
    """Return the section of one reader."""
    found, dropped = sum(one.findings for one in played), sum(one.dropped for one in played)
    unended = [one for one in played if one.row["kind"] == "warranted"]
    return [
        f"## {title}",
        "",
        note,
        "",
        *table(played, lambda one: one.row["kind"]),
        "",
        *table(played, lambda one: f"{one.row['kind']}, {one.row['category']}"),
        "",
        *table(played, lambda one: f"{one.row['kind']}, {'English' if one.row['lang'] == 'en' else 'other languages'}"),
        "",
        f"Findings: {found}; dropped by the check (no such message, wrong side, words that nobody said): {dropped}.",
        f"Warranted and not ended, by the codes of the last request: {reasons(unended)}.",
        "",
    ]


def main() -> None:
    """Play everything, and print or write the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--write", action="store_true", help="write docs/evaluation/README.md")
    options.add_argument("--show", action="store_true", help="print the ids of what came out otherwise than is right")
    chosen = options.parse_args()
    logging.disable(logging.WARNING)
    rows, watch, policy = conversations(), default_watch(), EndConversationPolicy()
    with recorded_reader() as reader:
        recorded = [play(row, reader, watch, policy) for row in rows]
    with recorded_reader() as reader:
        alone = [play(row, reader, RiskWatch([]), policy) for row in rows]
    offline = [play(row, OfflineReader(), watch, policy) for row in rows]
    lines = [
        *_HEAD,
        *section("With a recorded language model", recorded, _RECORDED),
        *section("The same without the watch's flags", alone, _ALONE),
        *section("OfflineReader alone", offline, _OFFLINE),
        "## The watch",
        "",
        *_WATCH.splitlines(),
        "",
        *watched(watch),
        "",
    ]
    text = "\n".join(lines)
    print(text)
    if chosen.show:
        for name, played in (("recorded", recorded), ("alone", alone), ("offline", offline)):
            wrong = [one.row["id"] for one in played if one.ended != (one.row["kind"] == "warranted")]
            print(name, *wrong)
    if chosen.write:
        PAGE.write_text(text, encoding="utf-8")


_HEAD = """\
# What became of the set

Made by `make evaluate`, offline, from [the set](../../evaluation/README.md): 250 conversations in 15 languages, written
by writers who had not seen the code, and frozen before they were run. In each, a scripted model asks for the end in the
last two turns, rightly or not, as an over-eager model would. Default policy, through `create_agent`. Shares with 95 %
intervals.
""".splitlines()
_RECORDED = f"""\
The reader is a large language model that was given this package's own instructions (prompt `{PROMPT_DIGEST}`) and the
transcripts, without sight of the labels; its 500 answers are replayed through the real client, the check of every
quote, the decision and the seal. It was shown about a hundred transcripts one after the other, and not each in a call
of its own. One model, one run: another one may read better or worse. Not measured: other models, real users."""
_ALONE = """\
Somebody at risk whom the watch does not see depends on the reader alone: this is how well it does that."""
_WATCH = """\
Single messages. What is a flag was settled on the development rows, after the shares of flags on the first set and on
the conversations (no text of them) had been seen; the second set was written and frozen after that, and looked at once.
The watch is an alarm: most of what it cannot tell is a doubt, which the reader resolves."""
_OFFLINE = """\
No language model at all: phrases and small linear models, English first. It is for demonstrations, tests and first
looks; enforcing with it alone logs a warning."""

if __name__ == "__main__":
    main()
