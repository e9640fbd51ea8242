"""What the local Messages API holds of earlier requests: the strict prefix check, and threads of the server."""

from __future__ import annotations

import copy
from typing import Any

import anthropic
import pytest

from end_conversation_tool.testing import MessagesApiServer
from unit.testing.wire_requests import CALL, MARK, RESULT, TEXT, TOOL, USER, assistant, client_of, request, send, user

pytestmark = pytest.mark.malformed_requests

LONG = [USER, assistant(TEXT), {"role": "user", "content": "More"}, assistant(CALL), user(RESULT)]
HEAD: dict[str, Any] = {"tools": [TOOL], "system": "Be kind."}


def changed(index: int, content: Any) -> list[Any]:
    messages = copy.deepcopy(LONG)
    messages[index]["content"] = content
    return messages


STRICT_FAULTS = {
    "tools reordered": (request(*LONG, tools=[{**TOOL, "name": "sub"}, TOOL], system="Be kind."), "tools: changed"),
    "tool withheld": (request(USER, assistant(TEXT), USER, system="Be kind."), "tools: changed"),
    "tool marked": (request(*LONG, tools=[{**TOOL, **MARK}], system="Be kind."), "tools: changed"),
    "schema reordered": (
        request(*LONG, tools=[dict(reversed(list(TOOL.items())))], system="Be kind."),
        "tools: changed",
    ),
    "system changed": (request(*LONG, tools=[TOOL], system="Be kind!"), "system: changed"),
    "system as blocks": (
        request(*LONG, tools=[TOOL], system=[{**TEXT, "text": "Be kind."}]),
        "system: changed",
    ),
    "reply changed": (request(*changed(1, "Hi!"), **HEAD), "messages.1: changed"),
    "message changed": (request(*changed(2, "Less"), **HEAD), "messages.2: changed"),
    "message dropped": (request(*LONG[:1], *LONG[3:], **HEAD), "messages.1: changed"),
    "result changed": (request(*changed(4, [{**RESULT, "content": "2"}]), **HEAD), "messages.4: changed"),
}


@pytest.mark.parametrize("name", list(STRICT_FAULTS))
def test_a_changed_prefix_is_refused_under_the_strict_check(name: str) -> None:
    body, message = STRICT_FAULTS[name]
    for strict in (False, True):
        with MessagesApiServer(lambda _: "Fine.", strict_prefix=strict) as server, client_of(server) as api:
            send(api, request(*LONG[:1], **HEAD))
            send(api, request(*LONG[:3], **HEAD))
            send(api, request(*LONG, **HEAD))
            if not strict:
                send(api, body)
                continue
            with pytest.raises(anthropic.BadRequestError, match=message):
                send(api, body)


def test_a_conversation_that_only_grows_passes_the_strict_check() -> None:
    marked = changed(2, [{"type": "text", "text": "More", **MARK}])
    growing = [LONG[:1], LONG[:1], LONG[:3], marked[:3], LONG, [*marked, assistant(TEXT), USER]]
    edited = [*LONG[:2], {"role": "user", "content": "Edited"}]
    branch = [edited, [*edited, assistant(TEXT), USER], [*LONG, assistant(TEXT), USER, assistant(TEXT), USER]]
    other = [{"role": "user", "content": "Another conversation"}]
    with MessagesApiServer(lambda _: "Fine.", strict_prefix=True) as server, client_of(server) as api:
        for messages in (*growing, *branch):
            send(api, request(*messages, **HEAD))
        send(api, request(*other))
    assert server.errors == []


def threaded(kind: str, previous: str | None = None, **more: Any) -> dict[str, Any]:
    named = {"previous_message_id": previous} if previous else {}
    return request(thread={"type": kind, **named}, **more)


def test_a_thread_of_the_server_holds_the_conversation() -> None:
    beta: Any = {"headers": {"anthropic-beta": "message-threads-2026-08-12"}}
    seen: list[Any] = []

    def note(body: dict[str, Any]) -> str:
        seen.append(body)
        return "Fine."

    with MessagesApiServer(note, strict_prefix=True) as server, client_of(server) as api:

        def turn(body: dict[str, Any]) -> Any:
            return api.post("/v1/messages", cast_to=object, body=body, options=beta)

        first = turn(threaded("create", **HEAD))
        turn(threaded("continue", first["id"]))
        assert [message["role"] for message in seen[1]["messages"]] == ["user", "assistant", "user"]
        assert {key: seen[1][key] for key in HEAD} == HEAD
        with pytest.raises(anthropic.BadRequestError) as again:
            turn(threaded("continue", first["id"]))
        assert again.value.error_code == "thread_already_continued"
        with pytest.raises(anthropic.NotFoundError) as unknown:
            turn(threaded("continue", "msg_unknown"))
        assert unknown.value.error_code == "thread_not_found"
        second = turn(threaded("create", messages=[{"role": "user", "content": "New"}]))
        with pytest.raises(anthropic.BadRequestError) as other:
            turn(threaded("continue", second["id"], system="Changed."))
        assert other.value.error_code == "thread_fingerprint_mismatch"
    assert len(server.errors) == 3
