"""The verbs of an operator: their options and help. What they do is in modules that are imported when used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from end_conversation_tool._core.vocabulary import Category, RiskKind
from end_conversation_tool.cli.options import AsJson, RegistryUrl, Since, Until
from end_conversation_tool.cli.output import EPILOG, reporting_errors
from end_conversation_tool.errors import InvalidInputError

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
        app.command(verb.__name__.replace("_", "-"), epilog=EPILOG)(verb)


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
    with reporting_errors():
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
    with reporting_errors():
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
    with reporting_errors():
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
    with reporting_errors():
        from end_conversation_tool.cli.operator import run_report  # noqa: PLC0415 - other verbs start faster

        run_report(
            registry,
            since=since,
            until=until,
            days=days,
            threads=threads,
            comments=comments,
            as_json=as_json,
            html=html,
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
    with reporting_errors():
        from end_conversation_tool.cli.operator import act  # noqa: PLC0415 - other verbs start faster

        act(
            registry,
            thread,
            lambda known: known.give_feedback(thread, rating=rating, comment=comment),
            lambda given: f"kept: {given.rating} of 5",
            as_json=as_json,
        )


def appeal(
    thread: Thread,
    registry: RegistryUrl,
    text: Annotated[str, typer.Option(help="The user's words, at most 2,000 characters.")],
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Open a user's appeal against the end of a conversation.

    Example: end-conversation appeal t1 --text "I was quoting a film."
    """
    with reporting_errors():
        from end_conversation_tool.cli.operator import act, opened_appeal  # noqa: PLC0415 - other verbs start faster

        act(registry, thread, lambda known: opened_appeal(known, thread, text), lambda _: "opened", as_json=as_json)


def appeals(
    registry: RegistryUrl,
    thread: Annotated[str | None, typer.Option(help="All appeals of this thread, not only open ones.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most this many.")] = 100,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """List the open appeals, oldest first.

    Example: end-conversation appeals --json
    """
    with reporting_errors():
        from end_conversation_tool.cli.operator import run_appeals  # noqa: PLC0415 - other verbs start faster

        run_appeals(registry, thread=thread, limit=limit, as_json=as_json)


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
    with reporting_errors():
        from end_conversation_tool.cli.operator import act  # noqa: PLC0415 - other verbs start faster

        act(
            registry,
            thread,
            lambda known: known.resolve_appeal(thread, upheld=upheld, operator=operator, reason=reason, reopen=reopen),
            lambda done: f"{done.status}{' and reopened' if reopen else ''}",
            as_json=as_json,
        )


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
    with reporting_errors():
        from end_conversation_tool.cli.operator import act  # noqa: PLC0415 - other verbs start faster

        act(
            registry,
            thread,
            lambda known: known.reopen(thread, operator=operator, reason=reason),
            lambda status: f"reopened, at sequence {status.sequence}",
            as_json=as_json,
        )


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
    with reporting_errors():
        from end_conversation_tool.cli.operator import act  # noqa: PLC0415 - other verbs start faster

        act(
            registry,
            thread,
            lambda known: known.erase(thread, operator=operator, reason=reason),
            lambda count: f"erased: {count} records",
            as_json=as_json,
        )


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
    with reporting_errors():
        from end_conversation_tool.cli.operator import act  # noqa: PLC0415 - other verbs start faster

        act(
            registry,
            None,
            lambda known: known.erase_subject(subject, operator=operator, reason=reason),
            lambda count: f"erased: {count} threads",
            as_json=as_json,
        )


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
    with reporting_errors():
        from end_conversation_tool.cli.operator import act, raised_flag  # noqa: PLC0415 - other verbs start faster

        act(
            registry,
            thread,
            lambda known: raised_flag(known, thread, kind, operator, reason),
            lambda flag: f"flagged: {flag.kind}",
            known=False,
            as_json=as_json,
        )


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
    with reporting_errors():
        from end_conversation_tool.cli.operator import act  # noqa: PLC0415 - other verbs start faster

        act(
            registry,
            thread,
            lambda known: known.clear_risk(thread, operator=operator, reason=reason),
            lambda count: f"cleared: {count}",
            as_json=as_json,
        )


def reset_breaker(
    registry: RegistryUrl,
    operator: Operator,
    reason: Reason,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Let ends be enforced again after the circuit breaker has tripped.

    Example: end-conversation reset-breaker --operator Kim --reason "a new policy"
    """
    with reporting_errors():
        from end_conversation_tool.cli.operator import act  # noqa: PLC0415 - other verbs start faster

        act(
            registry,
            None,
            lambda known: known.reset_breaker(operator=operator, reason=reason),
            lambda before: "reset" if before.tripped else "reset; it had not tripped",
            as_json=as_json,
        )
