"""The channels of our state, where several nodes of one step write to it."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.channels.base import BaseChannel

from end_conversation_tool._doors.langgraph.channels import Heard, Told

OLD, ONE, TWO = {"sig": "old"}, {"sig": "one"}, {"sig": "two"}


def after(channel: BaseChannel[Any, Any, Any], *steps: list[Any]) -> Any:
    channel = channel.from_checkpoint(steps[0][0])
    for written in steps[1:]:
        channel.update(written)
    return channel.get()


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ([], OLD),
        ([ONE], ONE),
        ([ONE, TWO], {"several": [ONE, TWO]}),
        ([ONE, OLD], ONE),  # a subgraph that only hands on what it was given has heard nothing
        ([OLD, OLD], OLD),
        ([{"several": [ONE, TWO]}, OLD, TWO], {"several": [ONE, TWO, TWO]}),
    ],
)
def test_what_several_have_heard_is_kept_together(written: list[Any], kept: Any) -> None:
    assert after(Heard(dict), [OLD], written) == kept


@pytest.mark.parametrize(
    ("written", "kept"),
    [([], "old"), ([None], None), (["a", None], "a"), (["a", "b"], "b"), ([None, None], None), ([False, True], True)],
)
def test_of_several_the_last_that_says_something_is_kept(written: list[Any], kept: Any) -> None:
    assert after(Told(str), ["old"], written) == kept
