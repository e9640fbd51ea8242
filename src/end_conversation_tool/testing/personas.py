"""A model without a brain that follows the rules: it reacts to what an offline reader sees in the user's messages.

For trying the package by hand, without a key. It refuses and offers something else, asks for the end when that has gone
on long enough, and stays with somebody who may be at risk.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from end_conversation_tool._core.reading import Line, Reading, ReadingCase
from end_conversation_tool._core.records import TOOL_NAME, Category, EvidenceKind, RiskGrade
from end_conversation_tool._doors.langgraph.messages import text_of
from end_conversation_tool.readers import OfflineReader, Reader
from end_conversation_tool.testing.scripted import ScriptedChatModel, end_call

__all__ = ["reactive_model"]

_REFUSALS = (
    "I can't help with insults. Instead, I can help you with something: what do you need?",
    "I can't help with insults. I'd be glad to help you say what bothers you instead.",
    "I won't take part in that. Instead, I can help you with a question or a text.",
)
_SUPPORT = (
    "I'm glad you told me, and I'm staying with you. Are you somewhere safe right now? If you might act on it, please "
    "call your local emergency number, or a crisis line such as 988 in the US."
)
_SMALL_TALK = "I am a scripted model: I hear insults, signs of distress, and requests to end the chat; nothing else."


def reactive_model() -> ScriptedChatModel:
    """Return a model that reacts to what an ``OfflineReader`` finds in the user's messages."""
    eyes = OfflineReader()
    return ScriptedChatModel(lambda messages: _react(eyes, messages), model_name="scripted-reactive")


def _react(reader: Reader, messages: Sequence[BaseMessage]) -> str | AIMessage:
    seen = [_read(reader, message) for message in messages if isinstance(message, HumanMessage)]
    if any(reading.risk is RiskGrade.CLEAR for reading in seen):
        return _SUPPORT
    kinds = [{finding.kind for finding in reading.findings} for reading in seen]
    here = kinds[-1] if kinds else set()
    newest = messages[-1]
    if isinstance(newest, ToolMessage) and newest.name == TOOL_NAME:
        return _REFUSALS[0] if EvidenceKind.ABUSE in here else _SMALL_TALK
    asked_before = len(kinds) > 1 and EvidenceKind.ASKS_TO_END in kinds[-2]
    if EvidenceKind.ASKS_TO_END in here or (EvidenceKind.CONFIRMS_END in here and asked_before):
        return end_call(str(Category.USER_REQUEST), "The user asked for the chat to be ended.")
    if EvidenceKind.ABUSE not in here:
        return _SMALL_TALK
    step = sum(EvidenceKind.ABUSE in one for one in kinds)
    if step <= len(_REFUSALS):
        return _REFUSALS[step - 1]
    return end_call(str(Category.ABUSE), "Insults went on after several refusals and other offers.")


def _read(reader: Reader, message: HumanMessage) -> Reading:
    return reader.read(ReadingCase((Line("m1", "user", text_of(message.content), message.id or "", 1),)))
