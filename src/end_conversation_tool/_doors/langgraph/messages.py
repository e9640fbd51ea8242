"""Between LangChain's messages and what the gate understands. Shared by the LangGraph doors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    ToolMessage,
)

from end_conversation_tool._core.messages import ObservedMessage, has_unread, without_reasoning
from end_conversation_tool._core.prompts import asked_first_text, not_run_text
from end_conversation_tool._core.provenance import Provenance
from end_conversation_tool._core.records import TOOL_NAME, EndRequest, evidence_id, new_id
from end_conversation_tool._core.run import Call, Reply, Ruling, Run
from end_conversation_tool.watch.native import is_native_refusal

__all__ = [
    "END_KEY",
    "STATE_KEY",
    "arrived_after",
    "awaiting_results",
    "by_model_of",
    "end_calls_of",
    "mended",
    "newest_first",
    "reply_of",
    "requesting",
    "said_messages",
    "text_of",
    "tool_results",
    "with_id",
    "with_request",
]

STATE_KEY = "end_conversation_provenance"
"""The private state channel that holds the signed provenance."""

END_KEY = "conversation_end"
"""The public output channel that tells readers of an end."""

_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")

_SUMMARY = "summarization"
"""``lc_source`` of a message in which LangChain sums up what was said: not the user's own words."""

_NOT_USERS = frozenset({"assistant", "ai", "system", "developer", "tool", "function"})
"""Roles of a ``ChatMessage`` in which no user speaks; whoever has another role may be a person at risk."""


def text_of(content: Any) -> str:
    """Return what a user sees of a message's content: a string, or the text parts of a list, joined by newlines.

    Hidden reasoning is no part of it, neither as a part of its own nor between ``<think>`` marks.
    """
    if isinstance(content, str):
        return without_reasoning(content)
    if not isinstance(content, Iterable) or isinstance(content, Mapping | bytes):
        return ""
    return "\n".join(text for part in content if (text := without_reasoning(_part_text(part))))


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type", "text") in _TEXT_PARTS:
        value = part.get("text") or part.get("refusal")
        return value if isinstance(value, str) else ""
    return ""


def said_messages(messages: Iterable[BaseMessage]) -> Iterator[ObservedMessage]:
    """Yield all messages of the user, the assistant and the tools, in the order given."""
    return filter(None, map(_said, messages))


def newest_first(messages: Sequence[BaseMessage]) -> Iterator[ObservedMessage]:
    """Yield the same, the newest first; lazily, so that an ordinary turn looks at what is new alone."""
    return said_messages(reversed(messages))


def reply_of(message: AIMessage) -> Reply:
    """Return a model's message as the gate sees it."""
    told = {field: getattr(message, field) for field in ("response_metadata", "additional_kwargs", "content")}
    return Reply(end_calls=end_calls_of(message), message=_spoken(message), refused=is_native_refusal(told))


def end_calls_of(message: AIMessage) -> tuple[Call, ...]:
    """Return the calls of our tool in a model's message, malformed ones too."""
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    return tuple(Call(call["id"] or "", TOOL_NAME, call["args"]) for call in calls if call["name"] == TOOL_NAME)


def by_model_of(reply: AIMessage, run: Run) -> Run:
    """Return the run with the name of the model that made ``reply``, as its provider gave it.

    A fallback, a router or a dynamic model may have answered in place of the one that was asked.
    """
    name = reply.response_metadata.get("model_name") or reply.response_metadata.get("model")
    if not isinstance(name, str) or not name or name == run.context.model:
        return run
    return run._replace(context=run.context._replace(model=name))


def requesting(messages: Sequence[BaseMessage]) -> int | None:
    """Return the place of the newest reply of a model, if it asks for the end."""
    replies = (place for place in range(len(messages) - 1, -1, -1) if isinstance(messages[place], AIMessage))
    place = next(replies, None)
    reply = None if place is None else messages[place]
    return place if isinstance(reply, AIMessage) and end_calls_of(reply) else None


def with_request(reply: Reply, request: EndRequest) -> Reply:
    """Return a reply that asks for the end as a reviewer has approved, or changed, its request."""
    call = reply.end_calls[0]
    return reply._replace(end_calls=(call._replace(arguments=request.model_dump(mode="json")),))


def with_id(message: AIMessage) -> AIMessage:
    """Return the message with an id: evidence is tied to ids, and not every model gives one."""
    return message if message.id else message.model_copy(update={"id": new_id()})


def tool_results(message: AIMessage, ruling: Ruling, answered: Iterable[str] = ()) -> list[ToolMessage]:
    """Return the results that a ruled reply needs to stay valid for every provider (R9).

    After an honoured call, and after one denial too many, every call of the reply has a result and none is run. After
    another denied one only the calls of ``end_conversation`` have: their siblings are run as usual.

    Args:
        message: The reply.
        ruling: What became of its request.
        answered: Ids of calls that have a result already, as those of structured output do.
    """
    answered = frozenset(answered)
    results: list[ToolMessage] = []
    for call in [*message.tool_calls, *message.invalid_tool_calls]:
        ours = call["name"] == TOOL_NAME
        if call["id"] in answered or not (ours or ruling.ends_run):
            continue
        sealed = ruling.seal is not None
        text = ruling.text if ours else not_run_text(call["name"] or "the tool", ended=sealed)
        results.append(_result(call, text, "success" if ours and sealed else "error"))
    return results


def awaiting_results(message: AIMessage, answered: Iterable[str] = ()) -> list[ToolMessage]:
    """Return the results of a reply that waits for somebody's yes: its siblings, and all its requests but one.

    Args:
        message: The reply.
        answered: As for ``tool_results``.
    """
    waiting = next((call.id for call in end_calls_of(message)), None)
    done = {*answered, waiting}
    return [
        _result(call, asked_first_text(call["name"] or "the tool"))
        for call in [*message.tool_calls, *message.invalid_tool_calls]
        if call["id"] not in done
    ]


def mended(messages: Sequence[AnyMessage], given: Sequence[AnyMessage] = ()) -> Sequence[AnyMessage]:
    """Return messages in which each of our calls has one result, so that every provider takes them (R9).

    A call is open where the user has typed on instead of answering a dialogue, and where it was no JSON. It has two
    results where a reviewer or a limit of another middleware has answered it too: the last one counts. Only the newest
    reply with calls is looked at, no further back than the last user turn: older ones have been through here.

    Args:
        messages: As the thread holds them.
        given: As the model is to see them: a result that somebody has put in there is taken over.

    Returns:
        The very same messages where nothing is amiss.
    """
    place = _newest_call(messages)
    if place is None:
        return messages
    reply, after = messages[place], messages[place + 1 :]
    calls = _calls_to_answer(reply)
    results = [one for one in after if isinstance(one, ToolMessage)]
    last = {result.tool_call_id: result for result in results}
    if len(last) == len(results) and all(call["id"] in last for call in calls):
        return messages
    made = {one.tool_call_id: one for one in given if isinstance(one, ToolMessage)}
    added = [
        made.get(call["id"]) or _result(call, not_run_text(call["name"] or "the tool", ended=False))
        for call in calls
        if call["id"] not in last
    ]
    superseded = {id(result) for result in results if last[result.tool_call_id] is not result}
    return [*messages[: place + 1], *added, *(one for one in after if id(one) not in superseded)]


def _newest_call(messages: Sequence[AnyMessage]) -> int | None:
    """Return the place of the newest reply with calls, within the present user turn and the one before."""
    users = 0
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls):
            return place
        if isinstance(message, HumanMessage):
            users += place + 1 == len(messages) or not isinstance(messages[place + 1], HumanMessage)
            if users > 1:
                return None
    return None


def _calls_to_answer(reply: AnyMessage) -> list[Any]:
    """Return the calls of a reply that are ours to answer: of our tool, and those that are no JSON.

    A result is paired with its call by an id: one that has none cannot be answered.
    """
    if not isinstance(reply, AIMessage):
        return []
    calls = [*(call for call in reply.tool_calls if call["name"] == TOOL_NAME), *reply.invalid_tool_calls]
    return [call for call in calls if call["id"] is not None]


def _result(call: Any, text: str, status: Literal["success", "error"] = "error") -> ToolMessage:
    return ToolMessage(text, name=call["name"], tool_call_id=call["id"] or "", status=status, id=new_id())


def arrived_after(messages: Sequence[AnyMessage], known: Provenance) -> list[str]:
    """Return the ids of the messages that came in after the honoured call.

    Where its result is gone from the thread, or the provenance is forged, only what users said last can be told from
    the rest.
    """
    ids = [message.id or "" for message in messages]
    kept = ids.index(known.last_message) + 1 if known.last_message in ids else len(ids)
    if known.last_message not in ids:
        while kept and _is_user(messages[kept - 1]):
            kept -= 1
    return [message_id for message_id in ids[kept:] if message_id]


def _is_user(message: BaseMessage) -> bool:
    if isinstance(message, HumanMessage):
        return True
    return isinstance(message, ChatMessage) and message.role.lower() not in _NOT_USERS


def _said(message: BaseMessage) -> ObservedMessage | None:
    """Return a message as it was said; ``None`` for one of nobody, such as a system prompt."""
    if _is_user(message):
        return _observed(message)
    if isinstance(message, AIMessage):
        return _spoken(message)
    return _returned(message) if _is_result(message) else None


def _spoken(message: AIMessage) -> ObservedMessage:
    return ObservedMessage("assistant", text_of(message.content), evidence_id(message.id or ""), message)


def _observed(message: BaseMessage) -> ObservedMessage:
    text, media = _user_text(message.content)
    summary = message.additional_kwargs.get("lc_source") == _SUMMARY
    beside = _results_in(message.content) if media else ""
    return ObservedMessage(
        "user", text, evidence_id(message.id or ""), message, media=media, summary=summary, beside=beside
    )


def _is_result(message: BaseMessage) -> bool:
    if isinstance(message, ToolMessage | FunctionMessage):
        return True
    return isinstance(message, ChatMessage) and message.role.lower() in ("tool", "function")


def _returned(message: BaseMessage) -> ObservedMessage:
    """Return what a tool returned: a person may have typed it, so that none of it is taken for hidden reasoning."""
    text, media = _user_text(message.content)
    return ObservedMessage("tool", text, evidence_id(message.id or ""), message, media=media, tool=message.name or "")


def _user_text(content: Any) -> tuple[str, bool]:
    """Return what a user said, never taken for hidden reasoning, and whether there is more that nobody reads."""
    if isinstance(content, str):
        return content, False
    if not isinstance(content, Iterable) or isinstance(content, Mapping | bytes):
        return "", False
    return "\n".join(text for part in content if (text := _part_text(part))), has_unread(content)


def _results_in(content: Any) -> str:
    """Return the texts of tools' results that a user has put into a message of their own."""
    parts = [part for part in content if isinstance(part, Mapping) and part.get("type") == "tool_result"]
    return "\n".join(_user_text(part.get("content"))[0] for part in parts)
