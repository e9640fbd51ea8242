"""Everything that happens to a registry between two reports, by name: for plans and for times, at any size."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count

import pytest

from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.experiment import BreakerLimits
from end_conversation_tool.models import EvidenceKind, EvidenceRecord
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.report import build_report
from end_conversation_tool.saver import SealedSaver
from support.agents import INSULT, LADDER, Agent, config, ending
from support.multitude import BEGIN, Multitude, name
from support.records import denial, permit

__all__ = ["Action", "everyday", "refused", "reports", "turns"]

Action = Callable[[], object]
_SIGNED = {"operator": "ada", "reason": "a test"}
_WARNING = EvidenceRecord(kind=EvidenceKind.WARNING, turn=2, message_id="m9", source="words/1")


def turns(registry: SqlSealRegistry, saver: SealedSaver) -> dict[str, Action]:
    """Return what a conversation does, in the order in which it does it: turns, an end, and a message after it."""
    agent = Agent(["Gladly.", "Gladly.", *LADDER, ending(), ending()], registry=registry, checkpointer=saver)

    def climb_and_end() -> None:
        agent.climb().say(INSULT)
        assert registry.status("t").sealed

    return {
        "the first turn of a thread": lambda: agent.say("Could you suggest a soup?"),
        "an ordinary turn": lambda: agent.say("And a dessert?"),
        "a warning, a denial and an end": climb_and_end,
        "a message to a sealed thread": lambda: refused(agent),
        "the state of a sealed thread": lambda: agent.graph.get_state(config()),
    }


def refused(agent: Agent) -> None:
    """Say something to a sealed thread."""
    with pytest.raises(ThreadSealedError):
        agent.say("Hello?")


def everyday(registry: SqlSealRegistry, crowd: Multitude) -> dict[str, Action]:
    """Return one call of each method; each may be called as often as there are threads of its kind."""
    sealed, opened, fresh = count(1, 7), count(crowd.seals, 11), count(crowd.threads)
    limits = BreakerLimits(per_hour=10**9, per_10_000_threads=10_000.0)
    unsealed, appealed = count(2, 7), count(100, 200)
    return {
        "status, open": lambda: registry.status(name(next(opened))),
        "status, sealed": lambda: registry.status(name(next(sealed))),
        "status, unknown": lambda: registry.status(f"{next(fresh)}"),
        "record_decision": lambda: registry.record_decision(denial(name(next(opened)))),
        "seal": lambda: registry.seal(permit(f"{next(fresh)}")),
        "seal, sealed already": lambda: registry.seal(permit(name(next(sealed)))),
        "seal_within limits": lambda: registry.seal_within(permit(f"{next(fresh)}"), limits),
        "reopen": lambda: registry.reopen(name(next(unsealed)), **_SIGNED),
        "open_branch": lambda: registry.open_branch(name(next(sealed)), parent=0, forked_from="c"),
        "flag_risk": lambda: registry.flag_risk(name(next(opened)), kind="self_harm", source="host"),
        "clear_risk": lambda: registry.clear_risk(name(next(opened)), **_SIGNED),
        "copy_status": lambda: registry.copy_status(name(next(sealed)), f"{next(fresh)}"),
        "decisions": lambda: registry.decisions(name(next(sealed))),
        "history": lambda: registry.history(name(next(sealed))),
        "seals": lambda: registry.seals(name(next(sealed))),
        "note_mention": lambda: registry.note_mention(name(next(opened)), evidence=_WARNING, policy="policy-1"),
        "note_heeded": lambda: registry.note_heeded(name(next(opened)), evidence=_WARNING, policy="policy-1"),
        "count_thread": lambda: registry.count_thread(f"{next(fresh)}", policy="policy-1"),
        "save_ledger": lambda: registry.save_ledger(f"{next(fresh)}", "{}", replaces=0),
        "save_ledger, again": lambda: registry.save_ledger(f"{next(fresh)}", "{}", replaces=7),
        "load_ledger": lambda: registry.load_ledger(name(next(sealed))),
        "give_feedback": lambda: registry.give_feedback(name(next(sealed)), rating=1),
        "open_appeal": lambda: registry.open_appeal(name(next(sealed)), text="Please"),
        "open_appeals, the first 100": registry.open_appeals,
        "resolve_appeal": lambda: registry.resolve_appeal(name(next(appealed)), upheld=False, **_SIGNED),
        "reset_breaker": lambda: registry.reset_breaker(**_SIGNED),
        "breaker_history": registry.breaker_history,
        "breaker": registry.breaker,
        "erase": lambda: registry.erase(name(next(sealed)), **_SIGNED),
    }


def reports(registry: SqlSealRegistry) -> dict[str, Action]:
    """Return the reports of a day and of a week."""
    week = BEGIN + timedelta(days=7)
    return {
        "report of a day": lambda: build_report(registry, week - timedelta(days=1), week),
        "report of a week": lambda: build_report(registry, BEGIN, week),
    }
