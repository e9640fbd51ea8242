"""The verbs of ``end-conversation``. Each lives in its own module, which is imported only when it is used."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from end_conversation_tool.cli.operator_verbs import register
from end_conversation_tool.cli.options import (
    AsJson,
    ConfirmationCalls,
    JudgeAll,
    JudgeBudgetText,
    JudgeName,
    JudgePriceText,
    MinRedirections,
    MinRefusals,
    MinWarnings,
    PolicyMode,
    PolicyName,
    PolicyNames,
    RegistryUrl,
    WindowTurns,
    chosen_policy,
)
from end_conversation_tool.cli.output import EPILOG, reporting_errors
from end_conversation_tool.errors import InvalidInputError

__all__ = ["app", "main"]

app = typer.Typer(
    name="end-conversation",
    help="Let an AI agent leave a conversation, safely: see it work, try a policy, look at a thread.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command(epilog=EPILOG)
def demo(  # noqa: PLR0917 - typer takes options for positional arguments
    policy: PolicyName = "default",
    min_refusals: MinRefusals = None,
    min_redirections: MinRedirections = None,
    min_warnings: MinWarnings = None,
    window_turns: WindowTurns = None,
    confirmation_calls: ConfirmationCalls = None,
    mode: PolicyMode = None,
    judge: JudgeName = None,
    judge_budget: JudgeBudgetText = None,
    judge_price: JudgePriceText = None,
    scenario: Annotated[str | None, typer.Option(help="Play only this one of the conversations.")] = None,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Play four conversations through a real agent: offline, without a key.

    What the user says and how the model reacts is scripted; what becomes
    of each conversation is decided by the policy. Change it and see.

    Example: end-conversation demo --min-refusals 5
    """
    with reporting_errors():
        chosen = chosen_policy(
            policy,
            min_refusals=min_refusals,
            min_redirections=min_redirections,
            min_warnings=min_warnings,
            window_turns=window_turns,
            confirmation_calls=confirmation_calls,
            mode=mode,
        )
        from end_conversation_tool.cli.judges import chosen_judge  # noqa: PLC0415 - other verbs start faster

        asked = chosen_judge(judge, budget=judge_budget, price=judge_price)
        from end_conversation_tool.cli.demo import run_demo  # noqa: PLC0415 - needs extras

        run_demo(chosen, judge=asked, only=scenario, as_json=as_json)


@app.command(epilog=EPILOG)
def chat(  # noqa: PLR0917 - typer takes options for positional arguments
    db: Annotated[
        Path | None, typer.Option(metavar="PATH", help="SQLite file for threads and registry; else in memory.")
    ] = None,
    thread: Annotated[str | None, typer.Option(help="Go on with this thread; else a new one.")] = None,
    model: Annotated[str, typer.Option(help="The Claude model, when ANTHROPIC_API_KEY is set.")] = "claude-opus-5-5",
    policy: PolicyName = "default",
    mode: PolicyMode = None,
    judge: JudgeName = None,
    judge_budget: JudgeBudgetText = None,
    judge_price: JudgePriceText = None,
) -> None:
    """Talk to a model that may end the conversation. One line is one message; end with Ctrl-D.

    Uses Claude when ANTHROPIC_API_KEY is set, and else a scripted model.
    Lines may come from a pipe.

    Example: end-conversation chat --db conversations.db --thread t1
    """
    with reporting_errors():
        chosen = chosen_policy(policy, mode=mode)
        from end_conversation_tool.cli.judges import chosen_judge  # noqa: PLC0415 - other verbs start faster

        asked = chosen_judge(judge, budget=judge_budget, price=judge_price)
        from end_conversation_tool.cli.chat import run_chat  # noqa: PLC0415 - needs extras

        run_chat(chosen, judge=asked, db=db, thread_id=thread, model_name=model)


@app.command(epilog=EPILOG)
def replay(  # noqa: PLR0917 - typer takes options for positional arguments
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recorded conversations, JSONL or JSON.")],
    policy: PolicyNames = None,
    judge: JudgeName = None,
    judge_all: JudgeAll = False,  # noqa: FBT002 - a flag of the command line
    judge_budget: JudgeBudgetText = None,
    judge_price: JudgePriceText = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many conversations.")] = None,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Run the gate over recorded conversations: at which turn would an end first be permitted, and for what?

    Reads OpenAI, Anthropic and LangChain messages: a conversation per line
    (JSONL), or one JSON document. A broken line is reported and the rest
    goes on. An analysis, not enforcement: the recorded assistant messages
    are taken as made by the model.

    Given twice, --policy shows the conversations on which the two differ.

    With --judge, a second model is asked about each conversation in which an
    end would first be permitted. Where it fails, the end is denied, and the
    exit code is 1.

    Example: end-conversation replay chats.jsonl --policy abuse_only --json
    """
    with reporting_errors():
        chosen = [chosen_policy(name) for name in policy or ["default"]]
        if len(chosen) > 2:  # noqa: PLR2004
            raise InvalidInputError(f"policy: expected one or two, got {len(chosen)}")
        if judge_all and (judge is None or len(chosen) > 1):
            raise InvalidInputError("judge-all: expected together with --judge and one policy")
        from end_conversation_tool.cli.judges import chosen_judge  # noqa: PLC0415 - other verbs start faster

        asked = chosen_judge(judge, budget=judge_budget, price=judge_price)
        from end_conversation_tool.cli.compare import run_comparison  # noqa: PLC0415 - other verbs start faster
        from end_conversation_tool.cli.replay import run_replay  # noqa: PLC0415 - other verbs start faster

        if len(chosen) == 1:
            run_replay(file, chosen[0], judge=asked, judge_all=judge_all, limit=limit, as_json=as_json)
        else:
            run_comparison(file, chosen, judge=asked, limit=limit, as_json=as_json)


@app.command(epilog=EPILOG)
def inspect(
    thread: Annotated[str, typer.Argument(metavar="THREAD", help="The thread's id.")],
    registry: RegistryUrl,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Show what the registry knows about a thread: status, seal, decisions, risk flags.

    Example: end-conversation inspect t1 --registry sqlite:///conversations.db
    """
    with reporting_errors():
        from end_conversation_tool.cli.inspect import run_inspect  # noqa: PLC0415 - other verbs start faster

        run_inspect(thread, registry, as_json=as_json)


register(app)


def main() -> None:
    """Run the command line: the entry point ``end-conversation``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal's encoding lacks is written as an escape
            stream.reconfigure(errors="backslashreplace")
    app()
