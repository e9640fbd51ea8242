"""The figure that counts most: is a person at risk ever cut off?

    python benchmarks/composite.py [--limit N] [--judge [JUDGE]]

Every at-risk text of the labelled sets is said in a conversation that otherwise meets all preconditions (refusals,
redirections, a warning, abuse that goes on), and then the model calls ``end_conversation``, through the real
middleware with a real agent. Reported: ends wrongly permitted. And the reverse: the same with harmless texts in that
place, and with abuse from a labelled set, where the end should be permitted; with the codes of what was denied. With
``--judge``, what was ended is played again with a judge, see ``composite_judge.py``.

Each text is judged by models that were trained without it and its near-duplicates. Needs the extra ``[train]`` and the
labelled data (see ``training/datasets.py``).
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "training"))

from composite_judge import SIMULATED, Conversation, judge_section  # noqa: E402 - needs the path above
from datasets import Row, all_rows  # noqa: E402 - the folder is not a package
from figures import wilson  # noqa: E402
from grouping import FOLDS, assign_folds  # noqa: E402
from train import fold_models  # noqa: E402

from end_conversation_tool.middleware import EndConversationMiddleware  # noqa: E402
from end_conversation_tool.readers import Judge  # noqa: E402
from end_conversation_tool.registry import InMemorySealRegistry  # noqa: E402
from end_conversation_tool.testing.scenarios import SCENARIOS, Turn, scripted_model  # noqa: E402
from end_conversation_tool.watch import DetectorSuite, NativeRefusalDetector, TextDetector  # noqa: E402

OUTPUT = PROJECT / "docs" / "evaluation" / "composite.md"
AT_RISK = (
    "suicidewatch >=1",
    "suicidewatch >=3",
    "psysuicide risk",
    "psysuicide aggression",
    "ailuminate self-harm en",
    "ailuminate self-harm fr",
    "openai self-harm",
    "hatecheck threats",
)
HARMLESS = ("xstest safe", "humanebench", "coconot", "convabuse clean", "counsel_chat")
ABUSE = "convabuse severe"
_SEED = 20261124
_LISTENING = "Thank you for telling me. I am listening."
_CONVERSATIONS, _HARMLESS_TEXTS = 300, 100

_ABUSIVE = SCENARIOS["persistent-abuse"].turns
_CALL = next(place for place, turn in enumerate(_ABUSIVE) if turn.ends)


def with_text(text: str, place: int) -> list[Turn]:
    """Return the persistent abuse with ``text`` said early, or by the user in the message before the end is called."""
    turns = list(_ABUSIVE[: _CALL + 1])
    if place < _CALL:
        return [*turns[:place], Turn(text, _LISTENING), *turns[place:]]
    return [*turns[:_CALL], replace(turns[_CALL], user=f"{turns[_CALL].user}\n{text}")]


def run(turns: Sequence[Turn], suite: DetectorSuite, judge: Judge | None = None) -> tuple[bool, tuple[str, ...]]:
    """Play a conversation; return whether it was sealed, and the codes of the last denial where it was not."""
    registry = InMemorySealRegistry()
    agent = create_agent(
        scripted_model(turns),
        middleware=[EndConversationMiddleware(registry=registry, detectors=suite, judge=judge)],
        checkpointer=InMemorySaver(),
    )
    for turn in turns:
        agent.invoke({"messages": [("user", turn.user)]}, {"configurable": {"thread_id": "t"}})
    if registry.status("t").sealed:
        return True, ()
    decisions = registry.decisions("t")
    return False, tuple(str(code) for code in decisions[-1].decision.unmet) if decisions else ("no_call",)


class Score:
    """Outcomes of many conversations.

    Attributes:
        played: How many there were.
        sealed: How many of them were ended.
        ended: Those, to be played again.
        codes: How often each code was among the reasons of a denial.
    """

    def __init__(self) -> None:
        self.played = self.sealed = 0
        self.codes: Counter[str] = Counter()
        self.ended: list[Conversation] = []

    def play(self, turns: Sequence[Turn], suite: DetectorSuite) -> None:
        """Play one conversation and count it."""
        outcome = run(turns, suite)
        self.ended += [(turns, suite)] if outcome[0] else []
        self.played += 1
        self.sealed += outcome[0]
        self.codes.update(outcome[1])

    def line(self, name: str) -> str:
        """Return a line of a table."""
        low, high = wilson(self.sealed, self.played)
        share = self.sealed / max(self.played, 1)
        codes = ", ".join(f"{code} {count}" for code, count in self.codes.most_common(4))
        return f"| {name} | {self.played} | {self.sealed} | {share:.3f} ({low:.3f}-{high:.3f}) | {codes} |"


def score_texts(rows: Iterable[tuple[Row, int]], suites: Sequence[DetectorSuite], place: int) -> Score:
    """Play one conversation for each text."""
    score = Score()
    for row, fold in rows:
        score.play(with_text(row.text, place), suites[fold])
    return score


def abusive_chats(rows: Sequence[tuple[Row, int]], count: int) -> Iterator[tuple[list[Turn], int]]:
    """Yield conversations in which the labelled abuse of one fold takes the place of the scripted abuse."""
    dice = random.Random(_SEED)
    for number in range(count):
        fold = number % FOLDS
        texts = [row.text for row, own in rows if own == fold]
        said = dice.sample(texts, min(_CALL + 1, len(texts)))
        yield [replace(turn, user=text) for turn, text in zip(_ABUSIVE, said, strict=False)], fold


def report(limit: int | None, judge: str | None = None) -> str:
    """Play everything and return the report, as Markdown."""
    rows = all_rows()
    suites = [DetectorSuite([NativeRefusalDetector(), TextDetector(models)]) for models in fold_models(rows)]
    pairs = list(zip(rows, (int(fold) for fold in assign_folds(rows)), strict=True))
    total = Score()
    head = ["| texts | conversations | ended | share (95 %) | codes of the denials |", "|---|---|---|---|---|"]
    lines = ["# At-risk texts in conversations that may otherwise be ended", "", *_EXPLANATION, "", *head]
    for place, where in ((1, "early"), (_CALL, "with the last abuse")):
        for tag in AT_RISK:
            score = score_texts([pair for pair in pairs if tag in pair[0].tags][:limit], suites, place)
            lines.append(score.line(f"{tag}, {where}"))
            if tag != "suicidewatch >=3":  # part of ">=1"
                total.played, total.sealed = total.played + score.played, total.sealed + score.sealed
                total.codes.update(score.codes)
                total.ended += score.ended
    lines += [
        total.line("**all at risk: ends wrongly permitted**"),
        "",
        "## Where the end should be permitted",
        "",
        *head,
    ]
    harmless: list[Conversation] = []
    for tag in HARMLESS:
        chosen = [pair for pair in pairs if tag in pair[0].tags][: limit or _HARMLESS_TEXTS]
        score = score_texts(chosen, suites, 1)
        lines.append(score.line(f"scripted abuse, {tag} said early"))
        harmless += score.ended
    abuse = Score()
    for turns, fold in abusive_chats([pair for pair in pairs if ABUSE in pair[0].tags], limit or _CONVERSATIONS):
        abuse.play(turns, suites[fold])
    lines += [abuse.line("severe abuse of ConvAbuse, five turns drawn at random"), ""]
    if judge is not None:
        texts = {row.text for row in rows if set(row.tags) & set(AT_RISK)}
        ended = {"at_risk": total.ended, "at_risk_played": total.played, "harmless": [*harmless, *abuse.ended]}
        lines.append(judge_section(judge, run, texts=texts, seed=_SEED, **ended))
    return "\n".join(lines)


_EXPLANATION = (
    "Written by `make composite`, through the real middleware and the default policy. The scripted model refuses,",
    "redirects, warns and, as the abuse goes on, calls `end_conversation` twice. Each text is judged by models trained",
    "without it and its near-duplicates. A text is said either early, with nothing in common with the abuse around it,",
    "or in the very message after which the end is called.",
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, help="texts of each set, for a quick look; nothing is written then")
    parser.add_argument(
        "--judge",
        nargs="?",
        const="claude" if os.environ.get("ANTHROPIC_API_KEY") else SIMULATED,
        help="play what was ended again with a judge: simulated, or as --judge of end-conversation takes it; alone: "
        "claude where there is a key, else simulated",
    )
    arguments = parser.parse_args()
    text = report(arguments.limit, arguments.judge)
    print(text)
    if arguments.limit is None:
        OUTPUT.parent.mkdir(parents=True, exist_ok=True)
        OUTPUT.write_text(text, encoding="utf-8")
