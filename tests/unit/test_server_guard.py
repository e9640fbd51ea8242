"""The guard of a LangGraph server, without a server: every event, on open, sealed and unreadable threads."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock

import pytest
from langgraph_sdk import Auth
from langgraph_sdk.auth.types import AuthContext

from end_conversation_tool._core.records import Category, ThreadStatus, new_id
from end_conversation_tool._core.texts import Texts
from end_conversation_tool._doors.upstream import SUBJECT_KEY
from end_conversation_tool.errors import InvalidInputError, RegistryError, RegistrySchemaError
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.server import ServerGuard, forged_keys, statement_for_run
from support.records import permit

STATEMENT = Texts().statement(Category.ABUSE)
EARLY, SEALED_AT, LATE = "1f0-1", "1f0-5", "1f0-9"


@pytest.fixture
def registry() -> InMemorySealRegistry:
    made = InMemorySealRegistry()
    made.seal(permit("sealed"), checkpoint_id=SEALED_AT, run_token=new_id())
    return made


def ctx(resource: Any, action: Any) -> AuthContext:
    return AuthContext(permissions=[], user=AsyncMock(), resource=resource, action=action)


def run(thread: str | None, checkpoint: str | None = None, **kwargs: Any) -> dict[str, Any]:
    configurable = {"checkpoint_id": checkpoint} if checkpoint else {}
    return {"thread_id": thread, "kwargs": {"config": {"configurable": configurable}, **kwargs}}


async def answer(guard: ServerGuard, resource: str, action: str, value: Any) -> tuple[int, str] | None:
    try:
        await guard.check(ctx(resource, action), value)
    except Auth.exceptions.HTTPException as error:
        return error.status_code, error.detail
    return None


WRITES: dict[str, tuple[str, str, Any]] = {
    "run": ("threads", "create_run", run),
    "run of another server": ("runs", "create_run", run),
    "state update": ("threads", "update", lambda thread: {"thread_id": thread}),
    "state update without metadata": ("threads", "update", lambda thread: {"thread_id": thread, "metadata": None}),
    "schedule": ("crons", "create", lambda thread: {"thread_id": thread, "payload": {}}),
}


@pytest.mark.parametrize(("resource", "action", "value"), WRITES.values(), ids=WRITES)
async def test_writes(registry: InMemorySealRegistry, resource: str, action: str, value: Any) -> None:
    guard = ServerGuard(registry)
    assert await answer(guard, resource, action, value("open")) is None
    assert await answer(guard, resource, action, value("sealed")) == (423, STATEMENT)


@pytest.mark.parametrize("error", [RegistryError("gone"), RegistrySchemaError("newer")])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_an_unreadable_registry_lets_nothing_in(
    registry: InMemorySealRegistry, monkeypatch: pytest.MonkeyPatch, write: Any, error: RegistryError
) -> None:
    monkeypatch.setattr(registry, "astatus", AsyncMock(side_effect=error))
    resource, action, value = write
    refused = await answer(ServerGuard(registry), resource, action, value("open"))
    assert refused is not None
    assert refused[0] == 503
    assert str(error) not in refused[1]


HARMLESS: dict[str, tuple[str, str, Any]] = {
    "read": ("threads", "read", {"thread_id": "sealed"}),
    "delete": ("threads", "delete", {"thread_id": "sealed"}),
    "create": ("threads", "create", {"thread_id": "sealed"}),
    "metadata": ("threads", "update", {"thread_id": "sealed", "metadata": {}}),
    "cancel": ("threads", "update", {"thread_id": "sealed", "action": "rollback", "metadata": {"run_ids": []}}),
    "stateless run": ("threads", "create_run", run(None)),
    "stateless schedule": ("crons", "create", {"payload": {"input": {"messages": []}}}),
    "store": ("store", "put", {"namespace": ("a",), "key": "k", "value": {"conversation_end": None}}),
    "assistant": ("assistants", "create", {"config": {"configurable": {"temperature": 0}}}),
}


@pytest.mark.parametrize(("resource", "action", "value"), HARMLESS.values(), ids=HARMLESS)
async def test_what_writes_into_no_sealed_thread_is_let_in(
    registry: InMemorySealRegistry, resource: str, action: str, value: Any
) -> None:
    assert await answer(ServerGuard(registry), resource, action, value) is None


@pytest.mark.parametrize("checkpoint", [None, SEALED_AT, LATE])
async def test_runs_that_do_not_start_before_the_seal(registry: InMemorySealRegistry, checkpoint: str | None) -> None:
    value = run("sealed", checkpoint)
    assert await answer(ServerGuard(registry), "threads", "create_run", value) == (423, STATEMENT)


async def test_runs_that_start_before_the_seal(registry: InMemorySealRegistry) -> None:
    value = run("sealed", EARLY)
    assert await answer(ServerGuard(registry), "threads", "create_run", value) is None
    without = ServerGuard(registry, branching=False)
    assert await answer(without, "threads", "create_run", value) == (423, STATEMENT)


def test_a_checkpoint_that_is_no_text_starts_nothing(registry: InMemorySealRegistry) -> None:
    assert statement_for_run(registry.status("sealed"), 5) == STATEMENT
    assert statement_for_run(ThreadStatus(thread_id="open"), 5) is None


async def test_state_updates_can_be_refused_altogether(registry: InMemorySealRegistry) -> None:
    guard = ServerGuard(registry, state_updates=False)
    refused = await answer(guard, "threads", "update", {"thread_id": "open"})
    assert refused == (403, "Not allowed from a client: state updates")
    assert await answer(guard, "threads", "update", {"thread_id": "sealed"}) == (423, STATEMENT)
    assert await answer(guard, "threads", "update", {"thread_id": "open", "metadata": {}}) is None


FORGED: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"input": [{"role": "user"}], "command": None, "config": None, "context": None, "checkpoint": None}, []),
    ({"command": {"resume": "yes"}}, []),
    ({"command": {"update": {}, "goto": []}}, ["command.update", "command.goto"]),
    ({"input": {"messages": [], "topic": {"a": 1}}}, []),
    ({"input": {"conversation_end": None}}, ["input.conversation_end"]),
    ({"input": {"end_conversation_anything": 1}}, ["input.end_conversation_anything"]),
    ({"input": {"messages": {"__overwrite__": []}}}, ["input.messages.__overwrite__"]),
    ({"config": {"configurable": {"thread_id": "t", "user_id": "u", "model": "m"}}}, []),
    ({"config": {"configurable": {"__after_seconds__": 0, "__event_streaming_v2": True}}}, []),
    ({"config": {"configurable": {"__pregel_runtime__": 1}}}, ["config.configurable.__pregel_runtime__"]),
    ({"context": {"__pregel_x": 1}}, ["context.__pregel_x"]),
    ({"checkpoint": {"checkpoint_id": "c", "__other": 1}}, ["checkpoint.__other"]),
    ({"config": {"configurable": {"end_conversation_branch": 1}}}, ["config.configurable.end_conversation_branch"]),
]


@pytest.mark.parametrize(("payload", "found"), FORGED)
async def test_forgeries(registry: InMemorySealRegistry, payload: dict[str, Any], found: list[str]) -> None:
    assert forged_keys(payload) == found
    guard = ServerGuard(registry)
    values = {
        ("threads", "create_run"): {"thread_id": "open", "kwargs": payload},
        ("crons", "create"): {"payload": payload},
        ("crons", "update"): {"payload": payload},
        ("assistants", "create"): payload,
        ("assistants", "update"): payload,
    }
    for (resource, action), value in values.items():
        refused = await answer(guard, resource, action, value)
        assert refused == ((403, f"Not allowed from a client: {', '.join(found)}") if found else None)


async def test_a_long_forged_key_is_not_repeated_in_full(registry: InMemorySealRegistry) -> None:
    payload = {f"end_conversation_{number}" + "x" * 10_000: 1 for number in range(100)}
    refused = await answer(ServerGuard(registry), "threads", "create_run", run("open", input=payload))
    assert refused is not None
    assert refused[0] == 403
    assert len(refused[1]) < 1000


@pytest.mark.parametrize(("arguments", "message"), [
    ({"registry": object()}, "registry: expected a SealRegistry, got object"),
    ({"branching": "yes"}, "branching: expected a bool, got str"),
    ({"state_updates": None}, "state_updates: expected a bool, got NoneType"),
])  # fmt: skip
def test_bad_arguments(registry: InMemorySealRegistry, arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"registry": registry, **arguments}
    with pytest.raises(InvalidInputError) as caught:
        ServerGuard(given.pop("registry"), **given)
    assert str(caught.value) == message


async def test_whose_run_it_is_says_the_server_and_no_client(registry: InMemorySealRegistry) -> None:
    guard = ServerGuard(registry, subject=lambda user: f"user-{user}")
    value = run("open")
    await guard.check(AuthContext(permissions=[], user="kim", resource="threads", action="create_run"), value)  # type: ignore[arg-type]
    assert value["kwargs"]["config"]["configurable"] == {SUBJECT_KEY: "user-kim"}
    bare: dict[str, Any] = {"thread_id": "open", "kwargs": {}}
    assert await answer(guard, "threads", "create_run", bare) is None
    assert bare["kwargs"]["config"]["configurable"][SUBJECT_KEY].startswith("user-")
    for claim in ({"context": {SUBJECT_KEY: "user-lee"}}, {"config": {"configurable": {SUBJECT_KEY: "user-lee"}}}):
        refused = await answer(guard, "threads", "create_run", {"thread_id": "open", "kwargs": claim})
        assert refused is not None
        assert refused[0] == 403
    untouched = run("open")
    assert await answer(ServerGuard(registry), "threads", "create_run", untouched) is None
    assert untouched == run("open")
    with pytest.raises(InvalidInputError, match="subject: expected a function of the user or None"):
        ServerGuard(registry, subject="kim")  # type: ignore[arg-type]
