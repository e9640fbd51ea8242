"""Every block of the guide runs, one after the other, in one program."""

from __future__ import annotations

from pathlib import Path

from end_conversation_tool._core.records import Category
from end_conversation_tool._core.texts import Texts
from support.programs import python_blocks, run_python

NOTICE, STATEMENT = Texts().notice(Category.USER_REQUEST), Texts().statement(Category.USER_REQUEST)


def test_the_guide_runs(tmp_path: Path) -> None:
    blocks = python_blocks("docs/guide-create-agent.md")
    assert len(blocks) == 6
    assert run_python(tmp_path, "-c", "\n".join(blocks)) == [
        "Hello!",
        "What a nice day.",
        "As you wish.",
        NOTICE,
        STATEMENT,
        "closed: new_chat, edit_and_retry, feedback",
        "abuse",
        "sealed: False",
        "sealed: True",
    ]
