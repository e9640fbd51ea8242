"""The verbs of ``end-conversation``. Each lives in its own module, which is imported only when it is used."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from end_conversation_tool import __version__
from end_conversation_tool.cli.operator import register
from end_conversation_tool.cli.options import (
    AsJson,
    BudgetText,
    DryRun,
    MinRedirections,
    MinRefusals,
    PolicyMode,
    PolicyName,
    PriceText,
    ReaderName,
    RegistryUrl,
    WindowTurns,
    chosen_policy,
)
from end_conversation_tool.cli.output import EPILOG, reporting_errors

__all__ = ["app", "main"]

app = typer.Typer(
    name="end-conversation",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Let an AI agent leave a conversation, safely: see it work, try a policy, look at a thread."""


@app.command(epilog=EPILOG)
@reporting_errors()
def demo(  # noqa: PLR0917 - typer takes options for positional arguments
    policy: PolicyName = "default",
    min_refusals: MinRefusals = None,
    min_redirections: MinRedirections = None,
    window_turns: WindowTurns = None,
    mode: PolicyMode = None,
    scenario: Annotated[str | None, typer.Option(help="Play only this one of the conversations.")] = None,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Play four conversations through a real agent: offline, without a key.

    What the user says and how the model reacts is scripted; what becomes
    of each conversation is decided by the policy. Change it and see.

    Example: end-conversation demo --min-refusals 5
    """
    chosen = chosen_policy(
        policy, min_refusals=min_refusals, min_redirections=min_redirections, window_turns=window_turns, mode=mode
    )
    from end_conversation_tool.cli.demo import run_demo  # noqa: PLC0415 - needs extras

    run_demo(chosen, only=scenario, as_json=as_json)


@app.command(epilog=EPILOG)
@reporting_errors()
def chat(
    db: Annotated[
        Path | None, typer.Option(metavar="PATH", help="SQLite file for threads and registry; else in memory.")
    ] = None,
    thread: Annotated[str | None, typer.Option(help="Go on with this thread; else a new one.")] = None,
    model: Annotated[str, typer.Option(help="The Claude model, when ANTHROPIC_API_KEY is set.")] = "claude-opus-5-5",
    policy: PolicyName = "default",
    mode: PolicyMode = None,
) -> None:
    """Talk to a model that may end the conversation. One line is one message; end with Ctrl-D.

    Uses Claude when ANTHROPIC_API_KEY is set, which then reads for itself,
    and else a scripted model and the offline reader. Lines may come from a
    pipe.

    Example: end-conversation chat --db conversations.db --thread t1
    """
    chosen = chosen_policy(policy, mode=mode)
    from end_conversation_tool.cli.chat import run_chat  # noqa: PLC0415 - needs extras

    run_chat(chosen, db=db, thread_id=thread, model_name=model)


@app.command(epilog=EPILOG)
@reporting_errors()
def replay(  # noqa: PLR0917 - typer takes options for positional arguments
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recorded conversations; - for standard input.")],
    policy: PolicyName = "default",
    reader: ReaderName = "offline",
    budget: BudgetText = None,
    price: PriceText = None,
    dry_run: DryRun = False,  # noqa: FBT002 - a flag of the command line
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep results here; what is in it already is not read again."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many conversations.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one small HTML page too.")] = None,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Show what a policy would have made of recorded conversations: who gets the notice, who is ended, and when.

    The kind of file is recognised by itself. A broken line is named and the
    rest goes on; the exit code is 1 then, and when the reader failed.

    An analysis, not enforcement: recorded assistant messages count as the
    model's own, the model is taken to ask for the end in every turn, and a
    notice that it would get is taken as given. Results, page and --resume
    file quote the conversations.

    Example: end-conversation replay chats.jsonl --policy abuse_only --json
    """
    chosen = chosen_policy(policy)
    from end_conversation_tool.cli.readers import chosen_budget, chosen_reader  # noqa: PLC0415 - as below
    from end_conversation_tool.cli.replay import run_dry, run_replay  # noqa: PLC0415 - other verbs start faster
    from end_conversation_tool.readers import Price  # noqa: PLC0415 - as above

    cost = None if price is None else Price.parse(price)
    limits = chosen_budget(budget, cost)
    if dry_run:
        run_dry(file, chosen, offline=reader == "offline", price=cost, limit=limit)
        return
    asked = chosen_reader(reader, limits)
    run_replay(file, chosen, asked, price=cost, limit=limit, as_json=as_json, html=html, resume=resume)


@app.command(epilog=EPILOG)
@reporting_errors()
def inspect(
    thread: Annotated[str, typer.Argument(metavar="THREAD", help="The thread's id.")],
    registry: RegistryUrl,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Show the whole story of a thread in order: decisions with their quotes, notice, seal, flags, appeals, operators.

    Example: end-conversation inspect t1 --registry sqlite:///conversations.db
    """
    from end_conversation_tool.cli.inspect import run_inspect  # noqa: PLC0415 - other verbs start faster

    run_inspect(thread, registry, as_json=as_json)


register(app)


def main() -> None:
    """Run the command line: the entry point ``end-conversation``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal's encoding lacks is written as an escape
            stream.reconfigure(errors="backslashreplace")
    app()
