"""``SealedSaver`` is a checkpoint saver like any other, as the peer's own suite has it."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import AsyncGenerator, Collection
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import DetectedCapabilities
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from sqlalchemy import URL

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry import InMemorySealRegistry
from support.chats import guarded
from support.savers import ENGINES, Place, open_place

COPY = "copy_thread"
"""Works over every inner saver; the other optional capabilities are those of the inner saver."""


@pytest.mark.parametrize("one_database", [True, False], ids=["one", "two"])
@pytest.mark.parametrize("engine", ENGINES)
async def test_conformance_is_full(engine: str, postgres: URL, tmp_path: Path, *, one_database: bool) -> None:
    async with open_place(engine, postgres, tmp_path, twin=True, one_database=one_database) as place:
        missing = {capability.value for capability in DetectedCapabilities.from_instance(place.inner).missing} - {COPY}

        @checkpointer_test(name=f"SealedSaver over {engine}")
        async def sealed() -> AsyncGenerator[BaseCheckpointSaver[Any], None]:
            yield await place.sealed()

        report = await validate(sealed)
        results = report.to_dict()["results"]
        assert {name: found["failures"] for name, found in results.items() if found["failures"]} == {}
        assert report.conformance_level() == "FULL"
        assert {name for name, found in results.items() if not found["detected"]} == missing
        assert results[COPY]["passed"]


def test_an_inner_saver_that_cannot_still_cannot() -> None:
    saver = SealedSaver(InMemorySaver(), InMemorySealRegistry())
    with pytest.raises(NotImplementedError):
        saver.delete_for_runs(["run"])
    with pytest.raises(NotImplementedError):
        saver.prune(["thread"])


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_state_points_to_its_place_in_the_history(
    engine: str,
    postgres: URL,
    tmp_path: Path,
    twin: bool,  # noqa: FBT001 - fixture
) -> None:
    async with open_place(engine, postgres, tmp_path, twin=twin) as place:
        chat = guarded(place, await place.sealed())
        await chat.say("hello")
        state, newest = await chat.state(), (await chat.history())[0]
        assert (state.config, state.parent_config) == (newest.config, newest.parent_config)
        assert json.loads(json.dumps(state.config)) == newest.config
        assert {type(value) for value in copy.deepcopy(state.config)["configurable"].values()} == {str}
        written = await chat.update({"messages": [HumanMessage("from outside")]}, as_node="model")
        assert written == (await chat.history())[0].config
        await chat.run({"messages": [HumanMessage("again")]}, dict(written["configurable"]))
        assert (await chat.state()).values["messages"][-1].content == "heard again"


class Pathless(InMemorySaver):
    """A saver that has not heard of paths of tasks."""

    def put_writes(self, config: Any, writes: Any, task_id: str) -> None:  # type: ignore[override]
        super().put_writes(config, writes, task_id)

    async def aput_writes(self, config: Any, writes: Any, task_id: str) -> None:  # type: ignore[override]
        self.put_writes(config, writes, task_id)


async def test_only_a_saver_that_takes_the_path_of_a_task_is_given_it(twin: bool) -> None:  # noqa: FBT001 - fixture
    place = Place("memory", twin, Pathless(), InMemorySealRegistry())
    chat = guarded(place, await place.sealed())
    assert (await chat.say("hello !tool"))["messages"][-1].content == "done"
    assert chat.notes == ["hello !tool"]


class Entered(InMemorySaver):
    """Notes when it is entered and left."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def __enter__(self) -> Any:
        self.heard.append("enter")
        return self

    def __exit__(self, *error: object) -> None:
        self.heard.append(f"exit {error[0]}")

    async def __aenter__(self) -> Any:
        self.heard.append("aenter")
        return self

    async def __aexit__(self, *error: object) -> None:
        self.heard.append(f"aexit {error[0]}")


async def test_it_is_a_context_manager_where_the_inner_saver_is_one(tmp_path: Path) -> None:
    inner = Entered()
    saver: Any = SealedSaver(inner, InMemorySealRegistry())
    with saver as opened:
        assert opened is saver
    async with saver as opened:
        assert opened is saver
    assert inner.heard == ["enter", "exit None", "aenter", "aexit None"]
    async with open_place("sqlite", None, tmp_path, twin=False) as place:
        none = await place.sealed()
        assert hasattr(type(none), "__enter__") is hasattr(type(place.inner), "__enter__")
        assert not hasattr(type(none), "__aenter__")


def test_a_copy_and_a_subclass_keep_what_the_inner_saver_can() -> None:
    class Mine(SealedSaver):
        """A kind of somebody's own."""

    mine = Mine(Recording(), InMemorySealRegistry())
    copied = copy.copy(mine)
    assert isinstance(mine, Mine)
    assert type(copied) is type(mine)
    assert type(mine).__name__ == "Mine"
    detected = DetectedCapabilities.from_instance(copied).detected
    assert {one.value for one in DetectedCapabilities.from_instance(Recording()).detected} | {COPY} == {
        one.value for one in detected
    }


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def twin(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_every_public_member_of_the_base_class_is_forwarded_explicitly() -> None:
    members = {name for name in vars(BaseCheckpointSaver) if not name.startswith("_")} - {"serde"}
    assert len(members) >= 23
    missing = {name for name in members if name not in vars(SealedSaver)}
    assert missing == set(), "the base class has a member that SealedSaver does not forward"


def test_signatures_are_those_of_the_base_class() -> None:
    for name, member in vars(BaseCheckpointSaver).items():
        if not name.startswith("_") and inspect.isfunction(member):
            ours = inspect.signature(getattr(SealedSaver, name))
            assert list(ours.parameters) == list(inspect.signature(member).parameters), name


class Recording(InMemorySaver):
    """Notes which method was called with what."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, Any]] = []

    def delete_for_runs(self, run_ids: Any) -> None:
        self.heard.append(("delete_for_runs", run_ids))

    async def adelete_for_runs(self, run_ids: Any) -> None:
        self.heard.append(("adelete_for_runs", run_ids))

    def get_delta_channel_history(self, *, config: Any, channels: Any) -> Any:
        self.heard.append(("get_delta_channel_history", (config, channels)))
        return {}

    async def aget_delta_channel_history(self, *, config: Any, channels: Any) -> Any:
        self.heard.append(("aget_delta_channel_history", (config, channels)))
        return {}

    def get_next_version(self, current: Any, channel: Any) -> Any:
        self.heard.append(("get_next_version", current))
        return super().get_next_version(current, channel)


async def test_what_has_no_rule_goes_straight_to_the_inner_saver() -> None:
    inner = Recording()
    saver = SealedSaver(inner, InMemorySealRegistry())
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    saver.delete_for_runs(["r"])
    await saver.adelete_for_runs(["r"])
    saver.get_delta_channel_history(config=config, channels=["c"])
    await saver.aget_delta_channel_history(config=config, channels=["c"])
    assert saver.get_next_version(None, None)
    assert [name for name, _ in inner.heard] == [
        "delete_for_runs",
        "adelete_for_runs",
        "get_delta_channel_history",
        "aget_delta_channel_history",
        "get_next_version",
    ]
    assert inner.heard[0][1] == ["r"]
    assert inner.heard[2][1] == (config, ["c"])
    assert list(saver.config_specs) == list(inner.config_specs)
    assert saver.storage is inner.storage


def test_serializer_and_allow_list_keep_the_guard() -> None:
    strict = JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None)
    inner = InMemorySaver(serde=strict)
    registry = InMemorySealRegistry()
    saver = SealedSaver(inner, registry, on_fork="refuse", on_sealed="discard")
    assert saver.serde is inner.serde
    wider = saver.with_allowlist([("end_conversation_tool._core.records", "Seal")])
    assert isinstance(wider, SealedSaver)
    assert wider.inner is not inner
    assert wider.serde is wider.inner.serde
    assert (wider.registry, wider.on_fork, wider.on_sealed) == (registry, "refuse", "discard")
    assert wider.fence_scope is saver.fence_scope


def test_an_inner_saver_without_allow_list_is_left_alone() -> None:
    class Plain(InMemorySaver):
        def with_allowlist(self, _extra_allowlist: Collection[tuple[str, ...]]) -> Plain:
            return self

    saver = SealedSaver(Plain(), InMemorySealRegistry())
    assert saver.with_allowlist([]) is saver


def test_setup_of_a_saver_without_one_does_nothing() -> None:
    assert SealedSaver(InMemorySaver(), InMemorySealRegistry()).setup() is None


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((None, InMemorySealRegistry()), "inner"),
        ((InMemorySaver(), None), "registry"),
        ((InMemorySaver(), InMemorySealRegistry(), "maybe"), "on_fork"),
        ((InMemorySaver(), InMemorySealRegistry(), "branch", "maybe"), "on_sealed"),
    ],
)
def test_bad_arguments_name_the_field(arguments: tuple[Any, ...], field: str) -> None:
    inner, registry, *options = arguments
    with pytest.raises(InvalidInputError, match=f"^{field}: expected"):
        SealedSaver(inner, registry, **dict(zip(("on_fork", "on_sealed"), options, strict=False)))


def test_an_attribute_that_nobody_has_is_an_attribute_error() -> None:
    saver = SealedSaver(InMemorySaver(), InMemorySealRegistry())
    with pytest.raises(AttributeError):
        _ = saver.no_such_thing
    with pytest.raises(AttributeError):
        _ = saver.__no_such_thing__
    with pytest.raises(AttributeError):
        _ = SealedSaver.__new__(SealedSaver).inner
