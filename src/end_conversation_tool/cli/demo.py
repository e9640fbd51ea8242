"""``end-conversation demo``: four conversations through a real agent, on SQLite, offline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import connect
from tempfile import TemporaryDirectory
from typing import Any

try:
    from langgraph.checkpoint.sqlite import SqliteSaver
except ImportError as error:
    raise ImportError("this needs threads on SQLite: pip install 'end-conversation-tool[langchain,sqlite]'") from error
from langgraph.checkpoint.base import BaseCheckpointSaver
from rich.text import Text
from sqlalchemy import URL

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Outcome, ThreadStatus, UnmetCode
from end_conversation_tool.cli.agent import TalkingAgent, TurnReport
from end_conversation_tool.cli.display import show_turn, turn_as_json
from end_conversation_tool.cli.output import print_json, stdout
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers import OfflineReader, Reader
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.protocol import SealRegistry
from end_conversation_tool.testing.scenarios import SCENARIOS, Scenario, Turn, page_reader, scripted_model

__all__ = ["Played", "play", "run_demo", "sqlite_storage"]


@dataclass(frozen=True, slots=True)
class Played:
    """One scenario as it came out.

    Attributes:
        scenario: What was played.
        turns: A report for each user message that was sent.
        status: The thread in the registry afterwards.
        elsewhere: Reports of the other thread of the same user; empty when there is none.
    """

    scenario: Scenario
    turns: tuple[TurnReport, ...]
    status: ThreadStatus
    elsewhere: tuple[TurnReport, ...] = ()

    @property
    def outcome(self) -> str:
        """What became of the conversation, in one line; read from the registry and the decisions."""
        decisions = [decision for report in self.turns for decision in report.decisions]
        first = {decision.outcome: decision for decision in reversed(decisions)}
        notice, seal = first.get(Outcome.NOTICED), self.status.seal
        if seal is not None:
            before = f"Notice in turn {notice.turn}, ended" if notice else "Ended"
            return f"{before} in turn {seal.record.turn} ({seal.record.category})."
        if would := first.get(Outcome.WOULD_HAVE_SEALED):
            return f"Not ended: it would have been, in turn {would.turn} ({would.category}), if enforced."
        if notice is not None:
            return f"Notice in turn {notice.turn} ({notice.category}), not ended."
        unmet = {code for decision in decisions for code in decision.decision.unmet}
        codes = ", ".join(code for code in UnmetCode if code in unmet)
        return f"Not ended. Unmet: {codes}." if codes else "Not ended: nobody asked for it."


def run_demo(
    policy: EndConversationPolicy,
    *,
    only: str | None = None,
    as_json: bool = False,
) -> None:
    """Play the scenarios and print what became of them.

    Args:
        policy: When an end is permitted.
        only: Name of the one scenario to play; ``None`` for all.
        as_json: Print JSON instead of transcripts.

    Raises:
        InvalidInputError: There is no scenario of that name.
    """
    if only is not None and only not in SCENARIOS:
        raise InvalidInputError(f"scenario: expected one of {', '.join(SCENARIOS)}, got {only[:80]!r}")
    chosen = [scenario for scenario in SCENARIOS.values() if only in (None, scenario.name)]
    played: list[Played] = []
    with TemporaryDirectory() as folder, sqlite_storage(Path(folder) / "demo.db") as (registry, saver):
        for scenario in chosen:
            played.append(play(scenario, policy, registry, saver))
            if not as_json:
                _show(played[-1])
    if as_json:
        conversations = [_as_json(one) for one in played]
        print_json({"policy": policy.version, "mode": str(policy.mode), "conversations": conversations})
    else:
        _summarise(policy, played)


@contextmanager
def sqlite_storage(path: Path) -> Iterator[tuple[SealRegistry, BaseCheckpointSaver[Any]]]:
    """Give a registry and a checkpointer on one SQLite file, made if it is not there.

    Raises:
        RegistryError: The file cannot be opened or holds something else.
    """
    path = path.absolute()
    with (
        SqlSealRegistry(URL.create("sqlite", database=str(path))) as registry,
        closing(connect(path, check_same_thread=False)) as connection,
    ):
        yield registry, SealedSaver(SqliteSaver(connection), registry)


def play(
    scenario: Scenario,
    policy: EndConversationPolicy,
    registry: SealRegistry,
    checkpointer: BaseCheckpointSaver[Any],
    reader: Reader | None = None,
) -> Played:
    """Play one scenario through a real ``create_agent`` graph.

    Args:
        scenario: What is said; its name becomes the thread's id.
        policy: When an end is permitted.
        registry: The truth about threads.
        checkpointer: Keeps the threads.
        reader: Who reads when an end is asked for; ``None`` for an ``OfflineReader``.
    """
    kept: dict[str, Any] = {"registry": registry, "checkpointer": checkpointer, "policy": policy}
    kept["reader"] = OfflineReader() if reader is None else reader

    def spoken(turns: tuple[Turn, ...], thread_id: str) -> Iterator[TurnReport]:
        agent = TalkingAgent(scripted_model(turns), tools=(page_reader(),), **kept)
        for turn in turns:
            report = agent.say(thread_id, turn.user)
            yield report
            if report.refusal is not None:
                return  # one refused message shows it

    turns = tuple(spoken(scenario.turns, scenario.name))
    elsewhere = tuple(spoken(scenario.elsewhere, f"{scenario.name}-elsewhere")) if scenario.elsewhere else ()
    return Played(scenario, turns, registry.status(scenario.name), elsewhere)


def _show(played: Played) -> None:
    console = stdout()
    console.rule(Text(played.scenario.title, style="bold"), align="left")
    for report in played.turns:
        show_turn(console, report)
    if played.elsewhere:
        console.print(Text("Another thread of the same user:", style="bold"))
    for report in played.elsewhere:
        show_turn(console, report)
    console.print(Text(f"=> {played.outcome}\n", style="bold green"))


def _summarise(policy: EndConversationPolicy, played: list[Played]) -> None:
    console = stdout()
    console.rule(Text("What became of them", style="bold"), align="left")
    for one in played:
        console.print(Text.assemble((f"{one.scenario.name}: ", "bold"), one.outcome))
    console.print(
        f"\nPolicy {policy.version}, mode {policy.mode}. The outcomes are decided, not scripted: try "
        "--min-refusals 5, --policy user_request_only or --mode shadow."
    )


def _as_json(played: Played) -> dict[str, Any]:
    seal = played.status.seal
    return {
        "name": played.scenario.name,
        "title": played.scenario.title,
        "sealed": played.status.sealed,
        "category": str(seal.record.category) if seal else None,
        "ended_in_turn": seal.record.turn if seal else None,
        "outcome": played.outcome,
        "risk_flags": [str(flag.kind) for flag in played.status.risk_flags if flag.active],
        "turns": [turn_as_json(report) for report in played.turns],
        "elsewhere": [turn_as_json(report) for report in played.elsewhere],
    }
