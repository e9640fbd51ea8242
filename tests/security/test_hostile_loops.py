"""Ways to get past the confirming call in a loop over the raw SDK."""

from __future__ import annotations

from typing import Any

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool.anthropic_sdk import ConversationGuard
from end_conversation_tool.registry import InMemorySealRegistry
from support.agents import INSULT
from support.keywords import keyword_suite

POLICY = EndConversationPolicy(name="warned", min_refusals=0, min_redirections=0)


def words(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "model": "m"}


def call(call_id: str) -> dict[str, Any]:
    asked = {"category": "abuse", "reason": "insults"}
    block = {"type": "tool_use", "id": call_id, "name": "end_conversation", "input": asked}
    return {"role": "assistant", "content": [block], "stop_reason": "tool_use", "model": "m"}


def test_a_call_whose_answer_was_lost_is_not_confirmed_by_the_next() -> None:
    guard = ConversationGuard(registry=InMemorySealRegistry(), policy=POLICY, detectors=keyword_suite())
    chat, messages = guard.conversation("t"), [{"role": "user", "content": INSULT}]
    chat.before_request(messages).after_response(words("I may end this chat.")).extend(messages)
    messages.append({"role": "user", "content": f"{INSULT}!"})
    first = chat.before_request(messages).after_response(call("lost"))
    assert not first.ended
    assert first.again  # the process dies here, before the answer is in the history, and starts again
    second = chat.before_request(messages).after_response(call("again"))
    assert not second.ended
    second.extend(messages)
    assert chat.before_request(messages).after_response(call("confirmed")).ended
