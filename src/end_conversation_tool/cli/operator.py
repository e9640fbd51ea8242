"""The verbs of an operator. What takes long to import is in modules that are imported when used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from end_conversation_tool._core.operations import Appeal
from end_conversation_tool._core.records import Record, ThreadStatus, validate_thread_id
from end_conversation_tool._core.vocabulary import Category, RiskKind
from end_conversation_tool.cli.options import AsJson, RegistryUrl, Since, Until, opened
from end_conversation_tool.cli.output import EPILOG, Exit, escaped, note, print_json, reporting_errors, stdout
from end_conversation_tool.errors import InvalidInputError

if TYPE_CHECKING:
    from end_conversation_tool.registry import SqlSealRegistry

__all__ = ["register"]

Thread = Annotated[str, typer.Argument(metavar="THREAD", help="The thread's id.")]
Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="Your own id of a person, as your app gave it.")]
Operator = Annotated[str, typer.Option(help="Your name, for the audit trail.")]
Reason = Annotated[str, typer.Option(help="Why, at most 2,000 characters, for the audit trail.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    verbs = (
        threads, subject, end, report, feedback, appeal, appeals, resolve, reopen, erase, erase_subject, flag_risk,
        clear_risk, reset_breaker,
    )  # fmt: skip
    for verb in verbs:
        app.command(verb.__name__.replace("_", "-"), epilog=EPILOG)(reporting_errors()(verb))


def threads(  # noqa: PLR0917 - typer takes options for positional arguments
    registry: RegistryUrl,
    sealed: Annotated[bool, typer.Option("--sealed", help="Sealed now; this is listed unless you choose.")] = False,  # noqa: FBT002
    shadow: Annotated[bool, typer.Option("--shadow", help="An end or a notice would have been, if enforced.")] = False,  # noqa: FBT002
    noticed: Annotated[bool, typer.Option("--noticed", help="Its user was given notice.")] = False,  # noqa: FBT002
    at_risk: Annotated[bool, typer.Option("--at-risk", help="A risk flag stands.")] = False,  # noqa: FBT002
    denied: Annotated[bool, typer.Option("--denied", help="An end was denied.")] = False,  # noqa: FBT002
    appealed: Annotated[bool, typer.Option("--appealed", help="An appeal is open.")] = False,  # noqa: FBT002
    since: Since = None,
    until: Until = None,
    policy: Annotated[str | None, typer.Option(help="Only under this version of a policy.")] = None,
    model: Annotated[str | None, typer.Option(help="Only with this model.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only of this person, by your own id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 100,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on where the last page ended.")] = None,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """List threads of one kind, newest first.

    Example: end-conversation threads --sealed --since 2026-03-01
    """
    from end_conversation_tool.cli.desk import run_threads  # noqa: PLC0415 - other verbs start faster
    from end_conversation_tool.registry.listing import ThreadKind  # noqa: PLC0415 - as above

    wanted = (sealed, shadow, noticed, at_risk, denied, appealed)
    chosen = [kind for kind, want in zip(ThreadKind, wanted, strict=True) if want] or [ThreadKind.SEALED]
    if len(chosen) > 1:
        raise InvalidInputError(f"threads: expected one kind at a time, got {', '.join(chosen)}")
    run_threads(
        registry,
        chosen[0],
        since=since,
        until=until,
        policy=policy,
        model=model,
        subject=subject,
        limit=limit,
        after=after,
        as_json=as_json,
    )


def subject(  # noqa: PLR0917 - typer takes options for positional arguments
    subject: Subject,
    registry: RegistryUrl,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 100,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Show what is on record of a person's threads, newest first: ends, notices, denials, flags, appeals.

    It blocks nobody: what follows from it is yours to decide.

    Example: end-conversation subject user-7 --since 2026-03-01
    """
    from end_conversation_tool.cli.desk import run_subject  # noqa: PLC0415 - other verbs start faster

    run_subject(registry, subject, since=since, until=until, limit=limit, as_json=as_json)


def end(  # noqa: PLR0917 - typer takes options for positional arguments
    thread: Thread,
    registry: RegistryUrl,
    operator: Operator,
    reason: Reason,
    category: Annotated[Category, typer.Option(help="The ground that is recorded.")] = Category.ABUSE,
    override_risk: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--override-risk", help="End it though a risk flag stands, in your name. The flag stays.")
    ] = False,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """End a thread yourself. Its user reads that the people who run the service ended it, and can appeal.

    It need not be known yet: nothing is on record of an ordinary thread.

    Example: end-conversation end t1 --operator Kim --reason "threats against staff"
    """
    from end_conversation_tool.cli.desk import run_end  # noqa: PLC0415 - other verbs start faster

    run_end(
        thread,
        registry,
        category=category,
        operator=operator,
        reason=reason,
        override_risk=override_risk,
        as_json=as_json,
    )


def report(  # noqa: PLR0917 - typer takes options for positional arguments
    registry: RegistryUrl,
    days: Annotated[float, typer.Option(min=0, max=36_500, help="Days up to --until.")] = 7.0,
    since: Annotated[str | None, typer.Option(metavar="MOMENT", help="Instead of --days, as in 2026-03-01.")] = None,
    until: Annotated[str | None, typer.Option(metavar="MOMENT", help="UTC where no zone is given; else now.")] = None,
    threads: Annotated[int | None, typer.Option(min=0, help="How many threads there were, for rates.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one HTML page with charts.")] = None,
    comments: Annotated[int, typer.Option(min=0, max=10_000, help="Newest comments of users to show.")] = 20,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Show how often conversations ended, why they did not, and how users rate it.

    Example: end-conversation report --days 7 --threads 120000 --html week.html
    """
    from end_conversation_tool.cli.report import run_report  # noqa: PLC0415 - other verbs start faster

    run_report(
        registry, since=since, until=until, days=days, threads=threads, comments=comments, as_json=as_json, html=html
    )


def feedback(
    thread: Thread,
    registry: RegistryUrl,
    rating: Annotated[int, typer.Option(help="1 (bad) to 5 (good).")],
    comment: Annotated[str, typer.Option(help="The user's words, at most 2,000 characters.")] = "",
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Keep what a user says of a conversation.

    Example: end-conversation feedback t1 --rating 2 --comment "That was unfair."
    """
    with _acting(registry, thread) as known:
        given = known.give_feedback(thread, rating=rating, comment=comment)
    _tell(given, f"kept: {given.rating} of 5", as_json=as_json)


def appeal(
    thread: Thread,
    registry: RegistryUrl,
    text: Annotated[str, typer.Option(help="The user's words, at most 2,000 characters.")],
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Open a user's appeal against the end of a conversation.

    Example: end-conversation appeal t1 --text "I was quoting a film."
    """
    from end_conversation_tool.cli.desk import opened_appeal  # noqa: PLC0415 - other verbs start faster

    with _acting(registry, thread) as known:
        begun = opened_appeal(known, thread, text)
    _tell(begun, "opened", as_json=as_json)


def appeals(
    registry: RegistryUrl,
    thread: Annotated[str | None, typer.Option(help="All appeals of this thread, not only open ones.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most this many.")] = 100,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """List the open appeals, oldest first.

    Example: end-conversation appeals --json
    """
    with opened(registry) as known:
        if thread is None:
            found = known.open_appeals(limit=limit)
        else:
            _require_known(known, thread)
            found = known.appeals(thread)[-limit:]
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
        return
    console = stdout(wrap=False)
    for one in found:
        console.print(_appeal_line(one))
    if not found:
        console.print("no appeals")


def resolve(  # noqa: PLR0917 - typer takes options for positional arguments
    thread: Thread,
    registry: RegistryUrl,
    upheld: Annotated[bool, typer.Option("--upheld/--rejected", help="Whether the user is right.")],
    operator: Operator,
    reason: Reason,
    reopen: Annotated[bool, typer.Option("--reopen", help="Reopen the thread too, when it is upheld.")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Uphold or reject the open appeal of a thread.

    Example: end-conversation resolve t1 --upheld --reopen --operator Kim --reason "it was a quote"
    """
    with _acting(registry, thread) as known:
        done = known.resolve_appeal(thread, upheld=upheld, operator=operator, reason=reason, reopen=reopen)
    _tell(done, f"{done.status}{' and reopened' if reopen else ''}", as_json=as_json)


def reopen(
    thread: Thread,
    registry: RegistryUrl,
    operator: Operator,
    reason: Reason,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Reopen a sealed thread. Runs from before stay out, and risk flags stay.

    Example: end-conversation reopen t1 --operator Kim --reason "sealed by mistake"
    """
    with _acting(registry, thread) as known:
        status = known.reopen(thread, operator=operator, reason=reason)
    _tell(status, f"reopened, at sequence {status.sequence}", as_json=as_json)


def erase(
    thread: Thread,
    registry: RegistryUrl,
    operator: Operator,
    reason: Annotated[str, typer.Option(help="Why; it is kept, so name nobody.")],
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Remove all words, and the thread's id, from the records of a thread. Its seal stays.

    The messages themselves are in your checkpointer: delete them there.

    Example: end-conversation erase t1 --operator Kim --reason "request of 3 March"
    """
    with _acting(registry, thread) as known:
        count = known.erase(thread, operator=operator, reason=reason)
    _tell(count, f"erased: {count} records", as_json=as_json)


def erase_subject(
    subject: Subject,
    registry: RegistryUrl,
    operator: Operator,
    reason: Annotated[str, typer.Option(help="Why; it is kept, so name nobody.")],
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Erase every thread of a person, as erase does, and with them the person's id. All of them, or none.

    Example: end-conversation erase-subject user-7 --operator Kim --reason "request of 3 March"
    """
    with opened(registry) as known:
        count = known.erase_subject(subject, operator=operator, reason=reason)
    _tell(count, f"erased: {count} threads", as_json=as_json)


def flag_risk(  # noqa: PLR0917 - typer takes options for positional arguments
    thread: Thread,
    registry: RegistryUrl,
    kind: Annotated[RiskKind, typer.Option(help="What the person may be at risk of.")],
    operator: Operator,
    reason: Annotated[str, typer.Option(help="Why, at most 2,000 characters.")] = "",
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Raise a risk flag: this thread cannot be ended until it is cleared. It need not be known yet.

    Example: end-conversation flag-risk t1 --kind crisis --operator Kim
    """
    from end_conversation_tool.cli.desk import raised_flag  # noqa: PLC0415 - other verbs start faster

    with opened(registry) as known:
        flag = raised_flag(known, thread, kind, operator, reason)
    _tell(flag, f"flagged: {flag.kind}", as_json=as_json)


def clear_risk(
    thread: Thread,
    registry: RegistryUrl,
    operator: Operator,
    reason: Reason,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Clear every risk flag of a thread. They stay on record.

    Example: end-conversation clear-risk t1 --operator Kim --reason "a line from a song"
    """
    with _acting(registry, thread) as known:
        count = known.clear_risk(thread, operator=operator, reason=reason)
    _tell(count, f"cleared: {count}", as_json=as_json)


def reset_breaker(
    registry: RegistryUrl,
    operator: Operator,
    reason: Reason,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Let ends be enforced again after the circuit breaker has tripped.

    Example: end-conversation reset-breaker --operator Kim --reason "a new policy"
    """
    with opened(registry) as known:
        before = known.reset_breaker(operator=operator, reason=reason)
    _tell(before, "reset" if before.tripped else "reset; it had not tripped", as_json=as_json)


@contextmanager
def _acting(url: str, thread: str) -> Iterator[SqlSealRegistry]:
    """Give the registry, to change a thread that it has heard of."""
    with opened(url) as registry:
        _require_known(registry, thread)
        yield registry


def _tell(result: Record | int, words: str, *, as_json: bool) -> None:
    """Say what became of it."""
    if as_json:
        print_json(result.model_dump(mode="json") if isinstance(result, Record) else {"count": result})
    else:
        stdout(wrap=False).print(escaped(words))


def _require_known(registry: SqlSealRegistry, thread: str) -> None:
    """Leave with exit code 1 when the registry knows nothing about a thread: likely a slip of the pen."""
    thread = validate_thread_id(thread)
    if registry.status(thread) != ThreadStatus(thread_id=thread) or registry.history(thread):
        return
    if registry.decisions(thread) or registry.load_provenance(thread):
        return
    note("the registry knows nothing about this thread; nothing was changed")
    raise typer.Exit(Exit.FOUND)


def _appeal_line(appeal: Appeal) -> str:
    line = f"{appeal.opened_at.isoformat()} {escaped(appeal.thread_id)}: {appeal.status}: {escaped(appeal.text)!r}"
    return line if appeal.resolved_by is None else f"{line}, by {escaped(appeal.resolved_by)}"
