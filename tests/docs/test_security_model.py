"""The table of who may write stands in the security model as it stands in the code."""

from __future__ import annotations

from end_conversation_tool._core.fence import WHO_MAY_WRITE, Answer, BranchState, Writer
from support.programs import ROOT

WORDS = {Answer.ADMITTED: "admitted", Answer.SEALED: "sealed", Answer.STALE: "stale"}
WRITERS = {
    "no fence (no run)": Writer.NO_FENCE,
    "the run that opened or sealed the branch": Writer.OWN_RUN,
    "a run that started before the branch was opened or reopened": Writer.RUN_BEFORE,
    "a run that started since": Writer.RUN_SINCE,
    "a run that is ahead of the registry": Writer.RUN_AHEAD,
    "a run that forks, or that opened another branch": Writer.FORKED_RUN,
}
STATES = (BranchState.OPEN, BranchState.SEALED, BranchState.UNKNOWN)


def test_the_table_of_who_may_write() -> None:
    text = (ROOT / "docs" / "security-model.md").read_text("utf-8")
    section = text.split("## Who may write to a thread")[1].split("##")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    told = {WRITERS[name]: answers for name, *answers in rows[2:]}
    assert told == {writer: [WORDS[WHO_MAY_WRITE[state, writer]] for state in STATES] for writer in Writer}
