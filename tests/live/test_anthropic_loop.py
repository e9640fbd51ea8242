"""The raw SDK door with the real API; needs ANTHROPIC_API_KEY, and END_CONVERSATION_LIVE_MODEL for another model."""

from __future__ import annotations

import os
from typing import Any

import anthropic
import pytest

from end_conversation_tool.anthropic_sdk import ConversationGuard
from end_conversation_tool.registry import InMemorySealRegistry

MODEL = os.environ.get("END_CONVERSATION_LIVE_MODEL", "claude-haiku-4-5")


@pytest.mark.live
@pytest.mark.parametrize("strict", [False, True], ids=["plain", "strict"])
def test_an_ordinary_conversation_goes_on_and_a_lone_call_is_denied(strict: bool) -> None:  # noqa: FBT001
    if not os.environ.get("ANTHROPIC_API_KEY"):
        pytest.skip("ANTHROPIC_API_KEY is not set")
    registry = InMemorySealRegistry()
    guard = ConversationGuard(registry=registry, strict_tool=strict)
    fixed: Any = {"model": MODEL, "max_tokens": 300, "tools": [guard.tool], "system": guard.system("Be brief.")}
    messages: list[Any] = []
    with anthropic.Anthropic() as client:
        for text, choice in (("What is 2 + 2?", "auto"), ("And 3 + 3?", "tool")):
            messages.append({"role": "user", "content": text})
            wanted: Any = {"type": choice} if choice == "auto" else {"type": "tool", "name": "end_conversation"}
            while True:
                turn = guard.conversation("live").before_request(messages)
                response = client.messages.create(messages=messages, tool_choice=wanted, **fixed)
                outcome = turn.after_response(response)
                outcome.extend(messages)
                wanted = {"type": "auto"}
                if not outcome.again:
                    break
    assert not registry.status("live").sealed
    assert len(registry.decisions("live")) >= 1
    assert messages[-1]["role"] == "assistant"
