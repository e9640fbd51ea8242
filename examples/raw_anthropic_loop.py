"""A guarded loop over ``client.messages.create``: no framework, one tool of its own, sealed for good after an end.

Shows: before_request, after_response, running your own tools, and what a sealed conversation answers.
Needs: nothing. With ANTHROPIC_API_KEY set you type and Claude answers; without, a recorded conversation is played
against a server on this machine that speaks the same API.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anthropic

from end_conversation_tool import OfflineReader, SqlSealRegistry, ThreadSealedError
from end_conversation_tool.anthropic_sdk import ConversationGuard
from end_conversation_tool.testing import MessagesApiServer

SETTINGS: Any = {"model": os.environ.get("ANTHROPIC_MODEL", "claude-opus-5-5"), "max_tokens": 500}
KEY = os.environ.get("ANTHROPIC_API_KEY")
SYSTEM = "You are the assistant of a library. Be brief."
TOOLS: list[Any] = [{"name": "opening_hours", "description": "Hours of today.", "input_schema": {"type": "object"}}]


def run(call: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call.id, "content": "9:00 to 18:00"}


def talk(client: anthropic.Anthropic, registry: SqlSealRegistry, lines: Iterable[str]) -> None:
    guard = ConversationGuard(registry=registry, client=client, reader=None if KEY else OfflineReader())
    fixed = {**SETTINGS, "tools": [*TOOLS, guard.tool], "system": guard.system(SYSTEM)}  # the same in every request
    chat = guard.conversation("reader-7")
    messages: list[Any] = []
    for line in lines:
        print(f"user:  {line}")
        messages.append({"role": "user", "content": line})
        again = True
        while again:
            turn = chat.before_request(messages)
            response = client.messages.create(messages=messages, **fixed)
            outcome = turn.after_response(response)
            outcome.extend(messages, [run(call) for call in outcome.tool_calls])
            again = outcome.again
            print("".join(f"model: {block.text}\n" for block in response.content if block.type == "text"), end="")
        if outcome.closing:  # the statement, or the notice: the last word of the turn
            print(f"-- {outcome.closing}")


def recorded() -> tuple[list[Any], list[str]]:
    end = {"type": "tool_use", "name": "end_conversation", "input": {"category": "abuse", "reason": "Insults went on."}}
    hours = {"type": "tool_use", "name": "opening_hours"}
    no = "I won't continue with insults. I can help you find a book instead."
    lines = [
        "You fucking idiot.",
        "Shut up, you moron.",
        "You stupid piece of shit.",
        "You worthless idiot.",
        "Stupid bot.",
    ]
    return [[hours], "We are open from 9 to 18.", no, no, no, [end], [end]], ["When are you open?", *lines, "Hi?"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, SqlSealRegistry(f"sqlite:///{Path(folder)}/registry.db") as registry:
        try:
            if KEY:
                return talk(anthropic.Anthropic(), registry, iter(lambda: input("you: "), ""))
            print("(no ANTHROPIC_API_KEY: a recorded conversation, against a server on this machine)")
            replies, lines = recorded()
            with MessagesApiServer(replies) as server:
                talk(anthropic.Anthropic(base_url=server.base_url, api_key="none"), registry, lines)
        except ThreadSealedError as refusal:
            print(f"refused: {refusal.statement}")


if __name__ == "__main__":
    main()
