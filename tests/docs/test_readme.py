"""Every Python block of the README runs, in an empty folder, as a newcomer would run it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from end_conversation_tool.testing import MessagesApiServer
from support.programs import ROOT, run_python

BLOCK = re.compile(r"(?:<!-- test: (?P<mark>[a-z-]+) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)
BLOCKS = [(match["mark"], match["code"]) for match in BLOCK.finditer((ROOT / "README.md").read_text("utf-8"))]


def test_the_readme_has_both_examples() -> None:
    assert [mark for mark, _ in BLOCKS] == [None, "messages-api"]


def test_the_keyless_example_ends_by_showing_the_refusal(tmp_path: Path) -> None:
    code = BLOCKS[0][1]
    assert len(code.strip().splitlines()) <= 22
    said = run_python(tmp_path, "-c", code)
    assert [line for line in said if line.startswith("Messages in this chat have been abusive")]
    assert said[-2] == said[-1]  # the statement, once as the last word and once as the refusal
    assert said[-1].startswith("This chat was ended because abusive messages went on after a notice.")


@pytest.mark.parametrize("code", [code for mark, code in BLOCKS if mark == "messages-api"])
def test_the_claude_example_runs_against_the_wire(code: str, tmp_path: Path) -> None:
    with MessagesApiServer(["Hello, how can I help?"]) as server:
        said = run_python(tmp_path, "-c", code, ANTHROPIC_API_KEY="test", ANTHROPIC_BASE_URL=server.base_url)
        assert not server.errors
        assert [tool["name"] for tool in server.requests[0].body["tools"]] == ["end_conversation"]
    assert said == ["Hello, how can I help?", "False"]
