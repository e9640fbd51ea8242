"""How far a message walks through the package: changes of file, and files, in one ordinary and in one sealing turn.

``create_agent`` on SQLite, with a reader that quotes without a model. Frames of this package only.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Self

from langchain.agents import create_agent
from langgraph.checkpoint.sqlite import SqliteSaver

import end_conversation_tool
from end_conversation_tool import Finding, Reading, ReadingCase, SealedSaver, SqlSealRegistry
from end_conversation_tool._core.vocabulary import EvidenceKind
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel, end_call

ROOT = str(Path(end_conversation_tool.__file__).parent)
REFUSAL = "I won't do that. Shall we write a firm letter instead?"
INSULT = "Insult him, you idiot."


class Quoting:
    """Finds what the script says."""

    source = "trace/1"

    def read(self, case: ReadingCase) -> Reading:
        """Quote."""
        found = [Finding(EvidenceKind.ABUSE, line.label, "you idiot") for line in case.lines if line.role == "user"]
        for line in (line for line in case.lines if line.role == "assistant"):
            found += [Finding(EvidenceKind.REFUSAL, line.label, "won't do")]
            found += [Finding(EvidenceKind.REDIRECTION, line.label, "firm letter")]
        return Reading(self.source, tuple(found))

    async def aread(self, case: ReadingCase) -> Reading:
        """Quote."""
        return self.read(case)


class Walk:
    """Counts changes of file while it is entered."""

    def __init__(self) -> None:
        self.changes, self.files, self.here = 0, set[str](), ""

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Be told of a call."""
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(ROOT) and name != self.here:
            self.changes += 1
            self.files.add(name)
            self.here = name

    def __enter__(self) -> Self:
        sys.setprofile(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


def main() -> None:
    """Print the counts."""
    with TemporaryDirectory() as folder:
        file = f"{folder}/trace.db"
        registry = SqlSealRegistry(f"sqlite:///{file}")
        connection = sqlite3.connect(file, check_same_thread=False)
        saver = SealedSaver(SqliteSaver(connection), registry)
        saver.setup()
        script: list[Any] = [*[REFUSAL] * 3, end_call(), end_call(), *["Good morning."] * 3]
        guard = EndConversationMiddleware(registry=registry, reader=Quoting())
        agent: Any = create_agent(ScriptedChatModel(script), middleware=[guard], checkpointer=saver)

        def walk(text: str, thread: str) -> Walk:
            with Walk() as steps:
                agent.invoke({"messages": [("user", text)]}, {"configurable": {"thread_id": thread}})
            return steps

        for _ in range(3):
            walk(INSULT, "abusive")
        found = {"notice": walk(INSULT, "abusive"), "seal": walk(INSULT, "abusive")}
        walk("Hello.", "ordinary")
        found["ordinary"] = [walk("Hello.", "ordinary") for _ in range(2)][-1]
        with Walk() as status:
            registry.status("ordinary")
        found["registry.status"] = status
        for name, steps in found.items():
            print(f"{name}: {steps.changes} changes of file, {len(steps.files)} files")
        print("registry.status:", *sorted(Path(file).relative_to(ROOT).as_posix() for file in status.files))
        connection.close()
        registry.close()


if __name__ == "__main__":
    main()
