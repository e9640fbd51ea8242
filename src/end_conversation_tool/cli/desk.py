"""What an operator does at the desk: list threads, look at a person's, end one, open an appeal, raise a flag."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import typer

from end_conversation_tool._core.operations import Appeal
from end_conversation_tool._core.prompts import PROMPT_VERSION
from end_conversation_tool._core.records import (
    Category,
    Decision,
    DecisionRecord,
    Mode,
    Outcome,
    RiskFlag,
    RiskKind,
    ThreadStatus,
    UnmetCode,
    Verdict,
    new_id,
    utc_now,
    validate_thread_id,
)
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.cli.announce import announce
from end_conversation_tool.cli.options import moment, opened
from end_conversation_tool.cli.output import Exit, escaped, note, print_json, stdout
from end_conversation_tool.operations.telemetry import appeal_event, decision_event, risk_event
from end_conversation_tool.registry.checks import check_signed
from end_conversation_tool.registry.listing import ListedThread, ThreadKind
from end_conversation_tool.registry.operations_protocol import ExperimentRegistry
from end_conversation_tool.registry.protocol import SealRegistry

__all__ = ["opened_appeal", "raised_flag", "run_end", "run_subject", "run_threads"]

_POLICY = "operator"
"""Stands for a policy in the record of an end that no policy decided on."""


def run_threads(
    url: str,
    kind: ThreadKind,
    *,
    since: str | None = None,
    until: str | None = None,
    policy: str | None = None,
    model: str | None = None,
    subject: str | None = None,
    limit: int = 100,
    after: str | None = None,
    as_json: bool = False,
) -> None:
    """Print the threads of a kind, newest first.

    Raises:
        InvalidInputError: A moment, the limit or the cursor is not usable.
    """
    begin, end = _period(since, until)
    narrowed = {"policy": policy, "model": model, "subject": subject}
    with opened(url) as registry:
        found = registry.threads(kind, since=begin, until=end, limit=limit, after=after, **narrowed)
    more = found[-1].cursor if len(found) == limit else None
    if as_json:
        print_json({"kind": str(kind), "threads": [_as_json(one) for one in found], "after": more})
        return
    console = stdout(wrap=False)
    for one in found:
        state = [name for name, holds in (("sealed", one.sealed), ("at risk", one.at_risk)) if holds] or ["open"]
        about = ", ".join(value for value in (one.category, one.policy_version, one.model) if value)
        console.print(
            f"{one.at:%Y-%m-%d %H:%M}  {escaped(one.thread_id)}  {' and '.join(state)}  {escaped(about)}".rstrip()
        )
    if not found:
        console.print(f"no threads of the kind {kind}; --help names the others")
    if more is not None:
        note(f"more: --after {more}")


def run_subject(url: str, subject: str, *, since: str | None, until: str | None, limit: int, as_json: bool) -> None:
    """Print what is on record of a person's threads, newest first.

    Raises:
        InvalidInputError: The id, a moment or the limit is not usable.
    """
    begin, end = _period(since, until)
    with opened(url) as registry:
        found = registry.subject_history(subject, since=begin, until=end, limit=limit)
    counts = Counter(str(one.what) for one in found)
    if as_json:
        entries = [{**one._asdict(), "at": one.at.isoformat()} for one in found]
        print_json({"subject": subject, "counts": counts, "entries": entries})
        return
    console = stdout(wrap=False)
    listed = ", ".join(f"{count} {_named(what)}" for what, count in counts.items()) or "nothing on record"
    console.print(escaped(f"{subject}: {listed}, {len({one.thread_id for one in found})} threads"))
    for one in found:
        about = ", ".join(value for value in (one.about, one.actor and f"by {one.actor}") if value)
        console.print(escaped(f"{one.at:%Y-%m-%d %H:%M}  {one.thread_id}  {_named(one.what)}  {about}".rstrip()))
    if len(found) == limit:
        note("there may be more: --until, or a higher --limit")


def _named(what: str) -> str:
    return what.replace("_", " ")


def _period(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    return None if since is None else moment("since", since), None if until is None else moment("until", until)


def _as_json(one: ListedThread) -> dict[str, object]:
    return {
        "thread_id": one.thread_id,
        "at": one.at.isoformat(),
        "sealed": one.sealed,
        "at_risk": one.at_risk,
        "category": one.category,
        "policy_version": one.policy_version,
        "model": one.model,
    }


def run_end(
    thread_id: str, url: str, *, category: Category, operator: str, reason: str, override_risk: bool, as_json: bool
) -> None:
    """End a thread in an operator's name.

    Raises:
        InvalidInputError: An argument is not usable.
        typer.Exit: 1 when it was sealed already, or a risk flag stands.
    """
    thread_id = validate_thread_id(thread_id)
    operator, reason = check_signed(operator, reason)
    with opened(url) as registry:
        record = _record_of(registry.status(thread_id), category, operator, reason)
        outcome = registry.seal_despite_risk(record) if override_risk else registry.seal(record)
    if outcome.created and outcome.seal is not None:
        announce(decision_event(outcome.seal.record))
    if as_json:
        print_json(outcome.model_dump(mode="json"))
    if outcome.refusal is UnmetCode.RISK_FLAGGED:
        note("not ended: a risk flag stands; look at the thread first, --override-risk ends it nevertheless")
    elif outcome.refusal is not None:
        note(f"not ended: {outcome.refusal}")
    elif not outcome.created:
        note("not ended: it was sealed already")
    elif not as_json:
        stdout().print(f"ended; its user reads: {escaped(record.statement or '')}")
    if not outcome.created:
        raise typer.Exit(Exit.FOUND)


def _record_of(status: ThreadStatus, category: Category, operator: str, reason: str) -> DecisionRecord:
    """Return the record of an end that a person decided on: nothing unmet, no evidence but their reason."""
    return DecisionRecord(
        id=new_id(),
        thread_id=status.thread_id,
        branch=status.branch,
        turn=0,
        category=category,
        reason=reason,
        decision=Decision(verdict=Verdict.PERMIT, policy_version=_POLICY),
        outcome=Outcome.SEALED,
        mode=Mode.ENFORCE,
        model=None,
        prompt_version=PROMPT_VERSION,
        decided_by=operator,
        risk_kinds=tuple(sorted({flag.kind for flag in status.risk_flags if flag.active})),
        statement=Texts().statement(category, operator=True),
        decided_at=utc_now(),
    )


def opened_appeal(registry: ExperimentRegistry, thread: str, text: str) -> Appeal:
    """Open an appeal, and tell whoever listens."""
    appeal = registry.open_appeal(thread, text=text)
    announce(appeal_event(appeal))
    return appeal


def raised_flag(registry: SealRegistry, thread: str, kind: RiskKind, operator: str, reason: str) -> RiskFlag:
    """Raise a flag, and tell whoever listens if it is a new one."""
    began = utc_now()
    flag = registry.flag_risk(thread, kind=kind, source=operator, reason=reason)
    if flag.raised_at >= began:
        announce(risk_event(thread, flag.kind, flag.source, "", flag.raised_at))
    return flag
