"""Everything that happens to a registry between two reports, by name: for plans and for times, at any size."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.operations import BreakerLimits
from end_conversation_tool._core.records import EvidenceKind, EvidenceRecord
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.operations.report import build_report
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.listing import ThreadKind
from support.agents import INSULT, LADDER, Agent, config, ending
from support.multitude import BEGIN, DAYS, Multitude, name
from support.records import denial, notice, permit

__all__ = ["SUBJECT", "Action", "Draw", "everyday", "refused", "reports", "turns"]

Action = Callable[[], object]
SUBJECT = "user-7"
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


def refused(agent: Agent, thread_id: str = "t") -> None:
    """Say something to a sealed thread."""
    with pytest.raises(ThreadSealedError):
        agent.say("Hello?", where=config(thread_id))


class Draw:
    """Threads of each kind, another one each time: every tenth, so that there are many and they lie far apart."""

    def __init__(self, crowd: Multitude) -> None:
        self._kinds = {
            "sealed": count(1, 10),
            "to reopen": count(2, 10),
            "appealed": count(40, 80),
            "open": count(crowd.seals + 1, 10),
            "unknown": count(crowd.threads),
        }

    def __call__(self, kind: str) -> str:
        """Return the id of a thread."""
        return name(next(self._kinds[kind]))


def everyday(registry: SqlSealRegistry, draw: Draw) -> dict[str, Action]:
    """Return one call of each method of a registry."""
    limits = BreakerLimits(per_hour=10**9, per_10_000_threads=10_000.0)
    return {
        "status, open": lambda: registry.status(draw("open")),
        "status, sealed": lambda: registry.status(draw("sealed")),
        "status, unknown": lambda: registry.status(draw("unknown")),
        "record_decision": lambda: registry.record_decision(denial(draw("open"))),
        "give_notice": lambda: registry.give_notice(notice(draw("open"))),
        "seal": lambda: registry.seal(permit(draw("unknown"))),
        "seal, sealed already": lambda: registry.seal(permit(draw("sealed"))),
        "seal_within limits": lambda: registry.seal_within(permit(draw("unknown")), limits),
        "reopen": lambda: registry.reopen(draw("to reopen"), **_SIGNED),
        "open_branch": lambda: registry.open_branch(draw("sealed"), parent=0, forked_from="c"),
        "flag_risk": lambda: registry.flag_risk(draw("open"), kind="self_harm", source="host"),
        "clear_risk": lambda: registry.clear_risk(draw("open"), **_SIGNED),
        "copy_status": lambda: registry.copy_status(draw("sealed"), draw("unknown")),
        "decisions": lambda: registry.decisions(draw("sealed")),
        "history": lambda: registry.history(draw("sealed")),
        "seals": lambda: registry.seals(draw("sealed")),
        "note_violation": lambda: registry.note_violation(draw("open"), evidence=_WARNING, policy="policy-1"),
        "count_thread": lambda: registry.count_thread(draw("unknown"), policy="policy-1"),
        "save_provenance": lambda: registry.save_provenance(draw("unknown"), "{}", replaces=0),
        "save_provenance, again": lambda: registry.save_provenance(draw("unknown"), "{}", replaces=7),
        "load_provenance": lambda: registry.load_provenance(draw("sealed")),
        "give_feedback": lambda: registry.give_feedback(draw("sealed"), rating=1),
        "open_appeal": lambda: registry.open_appeal(draw("sealed"), text="Please"),
        "open_appeals, the first 100": registry.open_appeals,
        "resolve_appeal": lambda: registry.resolve_appeal(draw("appealed"), upheld=False, operator="ada", reason="-"),
        "comments": registry.comments,
        "attribute": lambda: registry.attribute(draw("sealed"), subject=SUBJECT),
        "attribute, again": lambda: registry.attribute(name(1), subject=SUBJECT),
        "subject_history": lambda: registry.subject_history(SUBJECT),
        "seal_despite_risk": lambda: registry.seal_despite_risk(permit(draw("open"), decided_by="ada")),
        **_lists(registry),
        "reset_breaker": lambda: registry.reset_breaker(**_SIGNED),
        "breaker_history": registry.breaker_history,
        "breaker": registry.breaker,
        "erase": lambda: registry.erase(draw("sealed"), **_SIGNED),
        "erase_subject": lambda: registry.erase_subject(SUBJECT, **_SIGNED),
    }


def _lists(registry: SqlSealRegistry) -> dict[str, Action]:
    """Return a list of each kind: its first page, a later one, one of a day, a policy and a model, one of a subject."""
    day = BEGIN + timedelta(days=DAYS // 2)
    within: dict[str, Any] = {"since": day, "until": day + timedelta(days=1), "policy": "policy-1", "model": "model-1"}
    later = f"{int(day.timestamp()) * 1_000_000}-{'8' * 16}"
    options: dict[str, dict[str, Any]] = {"the first page": {}, "a later page": {"after": later}, "narrowed": within}
    options["of a subject"] = {"subject": SUBJECT}
    return {
        f"threads, {kind}, {what}": lambda kind=kind, given=given: registry.threads(kind, **given)  # type: ignore[misc]
        for kind in ThreadKind
        for what, given in options.items()
    }


def reports(registry: SqlSealRegistry) -> dict[str, Action]:
    """Return the reports of a day and of a week."""
    end = BEGIN + timedelta(days=DAYS)
    return {
        f"report of a {period}": lambda days=days: build_report(registry, end - timedelta(days=days), end)  # type: ignore[misc]
        for period, days in (("day", 1), ("week", 7))
    }
