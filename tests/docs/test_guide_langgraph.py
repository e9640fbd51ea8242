"""Every block of the LangGraph guide runs, one after the other, in one program."""

from __future__ import annotations

from pathlib import Path

from support.programs import ROOT, python_blocks, run_python

GUIDE = "docs/guide-langgraph.md"


def test_the_guide_runs(tmp_path: Path) -> None:
    blocks = python_blocks(GUIDE)
    assert len(blocks) == (ROOT / GUIDE).read_text("utf-8").count("```") // 2 == 4
    strictly = ("-W", "error::UserWarning:end_conversation_tool")
    greeting, question, category, ended = run_python(tmp_path, *strictly, "-c", "\n".join(blocks))
    assert greeting == "Good morning!"
    assert question.startswith("End this chat?")
    assert (category, ended) == ("user_request", "True")
