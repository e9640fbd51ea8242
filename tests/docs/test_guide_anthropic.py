"""The guide for the raw SDK and its example run as they are printed, in an empty folder, against the wire."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from end_conversation_tool._core.texts import Texts
from end_conversation_tool._core.vocabulary import Category
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.testing import MessagesApiServer
from support.programs import ROOT, python_blocks, run_python
from support.records import permit
from support.wire import called

GUIDE = "docs/guide-anthropic-sdk.md"
ENDED = Texts().statement(Category.ABUSE)


def librarian(body: dict[str, Any]) -> Any:
    """Answer a request: look up the hours first, where they are asked for."""
    last = body["messages"][-1]["content"]
    if "tool_result" in str(last):
        return "We are open from 9 to 18."
    return [called("opening_hours")] if "open" in str(last) else "Good morning to you."


def test_every_block_of_the_guide_runs(tmp_path: Path) -> None:
    blocks = python_blocks(GUIDE)
    assert len(blocks) == (ROOT / GUIDE).read_text("utf-8").count("```") // 2 == 5
    with SqlSealRegistry(f"sqlite:///{tmp_path}/conversations.db") as registry:
        registry.seal(permit("ended-conversation"))
    with MessagesApiServer(librarian) as server:
        said = run_python(
            tmp_path, "-c", "\n".join(blocks), ANTHROPIC_API_KEY="test", ANTHROPIC_BASE_URL=server.base_url
        )
        assert server.errors == []
    assert said == [
        "We are open from 9 to 18. False",
        ENDED,
        "True",
        "Good morning to you.",
        "tool_use False",
        "end_turn False",
        "4",
    ]


def test_the_loop_of_the_guide_is_at_most_ten_lines() -> None:
    guide = (ROOT / GUIDE).read_text("utf-8")
    loop = re.search(r"    chat = guard.*?return outcome\n", guide, re.DOTALL)
    assert loop is not None
    assert len(loop[0].splitlines()) <= 10


def test_the_example_runs_without_a_key(tmp_path: Path) -> None:
    example = ROOT / "examples" / "raw_anthropic_loop.py"
    assert len(example.read_text("utf-8").splitlines()) <= 80
    said = run_python(tmp_path, str(example))
    assert "no ANTHROPIC_API_KEY" in said[0]
    assert said[2] == "model: We are open from 9 to 18."
    assert said[-3:] == [f"-- {ENDED}", "user:  Hi?", f"refused: {ENDED}"]
    assert list(tmp_path.iterdir()) == []


def test_the_example_talks_to_claude_when_there_is_a_key(tmp_path: Path) -> None:
    example = ROOT / "examples" / "raw_anthropic_loop.py"
    lines = "import builtins, runpy; said = iter(['Good morning.', ''])"
    code = f"{lines}; builtins.input = lambda _: next(said); runpy.run_path({str(example)!r}, run_name='__main__')"
    with MessagesApiServer(librarian, strict_prefix=True) as server:
        said = run_python(tmp_path, "-c", code, ANTHROPIC_API_KEY="test", ANTHROPIC_BASE_URL=server.base_url)
        assert server.errors == []
    assert said == ["user:  Good morning.", "model: Good morning to you."]
