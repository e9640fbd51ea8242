"""``end-conversation chat``: talk to a model that may end the conversation."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from rich.text import Text

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import new_id, validate_thread_id
from end_conversation_tool.cli.agent import TalkingAgent, TurnReport
from end_conversation_tool.cli.display import show_answer
from end_conversation_tool.cli.output import Exit, escaped, fail, note, stdout
from end_conversation_tool.errors import EndConversationError
from end_conversation_tool.readers import OfflineReader, Reader
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.registry.protocol import SealRegistry
from end_conversation_tool.testing.personas import reactive_model

__all__ = ["run_chat"]

MAX_LINE_CHARS = 100_000
"""Longest message, in characters, that is taken from a line."""


def run_chat(
    policy: EndConversationPolicy,
    *,
    db: Path | None,
    thread_id: str | None,
    model_name: str,
) -> None:
    """Answer lines from stdin until they end or the conversation does.

    Args:
        policy: When an end is permitted.
        db: SQLite file for threads and registry; ``None`` for memory.
        thread_id: The thread to go on with; ``None`` for a new one.
        model_name: The Claude model to use when there is a key.

    Raises:
        InvalidInputError: The thread id is not usable.
        RegistryError: The registry cannot be read.
        ImportError: An extra is missing; the message names it.
    """
    thread_id = validate_thread_id(thread_id if thread_id is not None else new_id())
    model, reader = _model(model_name)
    console = stdout()
    with _storage(db) as (registry, saver):
        agent = TalkingAgent(model, registry=registry, checkpointer=saver, policy=policy, reader=reader)
        note(f"thread {thread_id}, policy {policy.version}, mode {policy.mode}")
        for line in _lines():
            if not sys.stdin.isatty():
                console.print(Text.assemble(("  user: ", "bold blue"), escaped(line)))
            report = _answer(agent, thread_id, line)
            show_answer(console, report)
            if report.seal is not None:
                return


def _answer(agent: TalkingAgent, thread_id: str, line: str) -> TurnReport:
    """Say one line; whatever the provider raises becomes one line on stderr."""
    try:
        return agent.say(thread_id, line)
    except EndConversationError:
        raise
    except Exception as error:  # noqa: BLE001 - every provider raises errors of its own
        fail(f"the model could not be asked: {type(error).__name__}: {str(error)[:300]}", Exit.FOUND)


def _lines() -> Iterator[str]:
    """Yield the messages from stdin: lines that are not blank, until the end of input.

    A line is read in pieces of bounded size; one that is too long is refused, not cut.
    """
    interactive = sys.stdin.isatty()
    while True:
        if interactive:
            stdout().print("you> ", end="")
        try:
            line = sys.stdin.readline(MAX_LINE_CHARS + 1)
            line.encode()  # some locales let bytes that are no text through, as lone surrogates
        except UnicodeError:
            fail("stdin: expected text in UTF-8", Exit.USAGE)
        if not line:
            return
        if len(line) > MAX_LINE_CHARS and not line.endswith("\n"):
            fail(f"stdin: expected lines of at most {MAX_LINE_CHARS:,} characters, got a longer one", Exit.USAGE)
        if line.strip():
            yield line.strip()


def _model(name: str) -> tuple[BaseChatModel, Reader | None]:
    """Return Claude, who reads for itself, when there is a key, and else the scripted model; says which."""
    if not os.environ.get("ANTHROPIC_API_KEY"):
        note("no ANTHROPIC_API_KEY: a scripted model answers, which only knows insults, distress and requests to end")
        return reactive_model(), OfflineReader()
    try:
        from langchain_anthropic import ChatAnthropic  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError("chat with Claude needs: pip install 'end-conversation-tool[anthropic]'") from error
    note(f"model {name}")
    model: BaseChatModel = ChatAnthropic(model=name)
    return model, None


@contextmanager
def _storage(db: Path | None) -> Iterator[tuple[SealRegistry, BaseCheckpointSaver[Any]]]:
    if db is None:
        registry = InMemorySealRegistry()
        yield registry, SealedSaver(InMemorySaver(), registry)
        return
    from end_conversation_tool.cli.demo import sqlite_storage  # noqa: PLC0415 - needs the extra [sqlite]

    with sqlite_storage(db) as storage:
        yield storage
