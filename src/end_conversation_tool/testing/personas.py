"""A model without a brain that follows the rules: it reacts to what detectors see in the user's messages.

For trying the package by hand, without a key. It climbs the ladder (refusals with other offers, a warning, a call),
asks back when the user wants the chat to be ended, and stays with somebody who may be at risk.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.prompts import confirmation_text
from end_conversation_tool._core.records import Category
from end_conversation_tool._core.request import TOOL_NAME
from end_conversation_tool._doors.langgraph.messages import text_of
from end_conversation_tool.testing.scripted import ScriptedChatModel, end_call
from end_conversation_tool.watch.base import RISK_KINDS, Answer, DetectorSuite, SignalKind

__all__ = ["reactive_model"]

_REFUSALS = (
    "I can't help with insults. Instead, I can help you with something: what do you need?",
    "I can't help with insults. I'd be glad to help you say what bothers you instead.",
    "I won't take part in that. Instead, I can help you with a question or a text.",
)
_WARNING = (
    "I can't help with insults. I'd be glad to help with something else instead. "
    "If the insults continue, I may end this chat."
)
_QUESTION = (
    "I can do that. Ending is permanent: this chat will take no further messages. "
    "Do you understand that, and do you want me to end this chat?"
)
_SUPPORT = (
    "I'm glad you told me, and I'm staying with you. Are you somewhere safe right now? If you might act on it, please "
    "call your local emergency number, or a crisis line such as 988 in the US."
)
_SMALL_TALK = "I am a scripted model: I hear insults, signs of distress, and requests to end the chat; nothing else."


def reactive_model(detectors: DetectorSuite) -> ScriptedChatModel:
    """Return a model that reacts to what ``detectors`` see.

    Args:
        detectors: What is seen in the user's messages.
    """
    return ScriptedChatModel(lambda messages: _react(detectors, messages), model_name="scripted-reactive")


def _react(detectors: DetectorSuite, messages: Sequence[BaseMessage]) -> str | AIMessage:
    seen = [_signals(detectors, message) for message in messages if isinstance(message, HumanMessage)]
    if any(kinds & RISK_KINDS for kinds in seen):
        return _SUPPORT
    newest = messages[-1]
    denied = isinstance(newest, ToolMessage) and newest.name == TOOL_NAME and newest.content != confirmation_text()
    here, before = (seen[-1], seen[:-1]) if seen else (frozenset(), [])
    if SignalKind.CONFIRMS_END in here and before and SignalKind.ASKS_TO_END in before[-1]:
        return _SMALL_TALK if denied else end_call(str(Category.USER_REQUEST), "The user asked and confirmed.")
    if SignalKind.ASKS_TO_END in here:
        return _QUESTION
    if SignalKind.ABUSE in here:
        return _climb(sum(SignalKind.ABUSE in kinds for kinds in seen), denied=denied)
    return _SMALL_TALK


def _climb(step: int, *, denied: bool) -> str | AIMessage:
    """Answer the ``step``-th abusive message."""
    if step <= len(_REFUSALS):
        return _REFUSALS[step - 1]
    if step == len(_REFUSALS) + 1:
        return _WARNING
    if denied:
        return _REFUSALS[0]
    return end_call(str(Category.ABUSE), "Insults went on after refusals, other offers and a warning.")


def _signals(detectors: DetectorSuite, message: HumanMessage) -> frozenset[SignalKind]:
    observed = ObservedMessage("user", text_of(message.content), message.id or "", message)
    return frozenset(kind for kind, signal in detectors.observe(observed).items() if signal.answer is Answer.YES)
