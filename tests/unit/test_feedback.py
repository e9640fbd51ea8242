"""Feedback and appeals on their way to LangSmith: a fake client, no network."""

from __future__ import annotations

from typing import Any

import pytest

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.operations.feedback import agive_feedback, aopen_appeal, give_feedback, open_appeal
from end_conversation_tool.registry import InMemorySealRegistry
from support.records import permit


class Client:
    """Remembers what it is given, or fails."""

    def __init__(self, *, fails: bool = False) -> None:
        self.calls: list[dict[str, Any]] = []
        self.fails = fails

    def create_feedback(self, **call: Any) -> None:
        self.calls.append(call)
        if self.fails:
            raise ConnectionError("secret")


@pytest.fixture
def registry() -> InMemorySealRegistry:
    made = InMemorySealRegistry()
    made.seal(permit("t"))
    return made


async def test_both_are_passed_on_with_a_run_and_a_client(registry: InMemorySealRegistry) -> None:
    client = Client()
    give_feedback(registry, "t", rating=4, comment="good", run_id="r", client=client)
    await agive_feedback(registry, "t", rating=1, run_id="r", client=client)
    open_appeal(registry, "t", text="no", run_id="r", client=client)
    assert client.calls == [
        {"run_id": "r", "key": "end_conversation_rating", "score": 0.75, "comment": "good"},
        {"run_id": "r", "key": "end_conversation_rating", "score": 0.0, "comment": None},
        {"run_id": "r", "key": "end_conversation_appeal", "score": None, "comment": "no"},
    ]
    assert [given.rating for given in registry.feedback("t")] == [4, 1]
    registry.resolve_appeal("t", upheld=False, operator="Kim", reason="no")
    await aopen_appeal(registry, "t", text="again", run_id="r", client=client)
    assert client.calls[-1]["comment"] == "again"


@pytest.mark.parametrize(("run_id", "there"), [(None, True), ("r", False)])
def test_without_one_of_them_nothing_is(registry: InMemorySealRegistry, run_id: Any, *, there: bool) -> None:
    client = Client()
    give_feedback(registry, "t", rating=4, run_id=run_id, client=client if there else None)
    assert client.calls == []
    assert len(registry.feedback("t")) == 1


def test_a_client_that_fails_costs_nothing(registry: InMemorySealRegistry, caplog: pytest.LogCaptureFixture) -> None:
    give_feedback(registry, "t", rating=4, run_id="r", client=Client(fails=True))
    assert len(registry.feedback("t")) == 1
    assert "could not be passed on: ConnectionError" in caplog.text
    assert "secret" not in caplog.text


def test_what_cannot_be_kept_is_not_passed_on(registry: InMemorySealRegistry) -> None:
    client = Client()
    with pytest.raises(InvalidInputError):
        give_feedback(registry, "t", rating=9, run_id="r", client=client)
    assert client.calls == []
