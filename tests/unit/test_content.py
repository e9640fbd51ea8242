"""Parts that nobody can read as text: an image may show what its sender does not say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from end_conversation_tool._core.messages import has_media
from end_conversation_tool._core.vocabulary import UnmetCode
from support.agents import INSULT, LADDER, Agent, ending

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}


@pytest.mark.parametrize(
    "content",
    [
        [IMAGE],
        [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:"}}],
        [{"type": "input_audio", "input_audio": {}}],
        [{"type": "document", "source": {}}],
        ({"type": "file", "file": {}},),
        [{"type": "something-new"}],
        [{"type": "non_standard", "value": {"type": "voice"}}],
        [{"type": "text", "text": ["in pieces"]}],
        [SimpleNamespace(type="input_text", text=None)],
        [SimpleNamespace(type="image")],
    ],
)
def test_media(content: Any) -> None:
    assert has_media(content)


@pytest.mark.parametrize(
    "content",
    [
        "text",
        None,
        [],
        ["text"],
        [{"type": "text", "text": "x"}],
        [{"text": "x"}],
        [{"type": "tool_result", "content": [IMAGE]}],
        [SimpleNamespace(type="text", text="x")],
        {"type": "image"},
    ],
)
def test_no_media(content: Any) -> None:
    assert not has_media(content)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_an_image_among_the_messages_denies_the_end(*, asynchronous: bool) -> None:
    agent = Agent([*LADDER, ending(), "All right."], asynchronous=asynchronous).climb()
    agent.invoke({"messages": [HumanMessage([{"type": "text", "text": INSULT}, IMAGE])]})
    assert agent.registry.decisions("t")[-1].decision.unmet[0] is UnmetCode.RISK_UNCERTAIN
    assert not agent.registry.status("t").sealed
