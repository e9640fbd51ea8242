"""What is told at once of an ordinary thread is what the whole check finds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from end_conversation_tool._core.fence import Fence, branch_to_write, check_write, is_ordinary, moved_to
from end_conversation_tool._core.records import RiskKind
from end_conversation_tool.registry import InMemorySealRegistry
from support.records import notice, permit

fences = st.builds(
    Fence,
    st.just("t"),
    sequence=st.integers(0, 4),
    branch=st.integers(0, 2),
    run_token=st.sampled_from(["sealer", "forker", "other"]),
    fork=st.sampled_from([None, None, None, "c"]),
    open=st.booleans(),
)
happenings = st.lists(st.sampled_from(["sealed", "noticed", "forked", "reopened", "flagged", "cleared"]), max_size=5)


@given(happenings, fences)
@settings(max_examples=2_000, deadline=None)
def test_who_may_write_at_once_may_write(happened: list[str], fence: Fence) -> None:
    registry = InMemorySealRegistry()
    for what in happened:
        happen(registry, what)
    status = registry.status("t")
    if is_ordinary(fence, status):
        branch = branch_to_write(status, fence)
        assert branch is not None
        assert (branch.branch, branch.seal) == (0, None)
        check_write(status, branch, fence)
        assert moved_to(fence, branch) is fence


def happen(registry: InMemorySealRegistry, what: str) -> None:
    """Have something happen to the thread, where it can."""
    status = registry.status("t")
    if what == "sealed":
        registry.seal(permit("t", branch=status.branch), checkpoint_id="c", run_token="sealer")  # noqa: S106 - no secret
    elif what == "noticed":
        registry.give_notice(notice("t", branch=status.branch))
    elif what == "forked":
        registry.open_branch("t", parent=status.branch, forked_from="c", run_token=f"forker{status.sequence}")
    elif what == "reopened" and status.sealed:
        registry.reopen("t", operator="o", reason="r")
    elif what == "flagged":
        registry.flag_risk("t", kind=RiskKind.OTHER, source="test")
    elif what == "cleared" and status.at_risk:
        registry.clear_risk("t", operator="o", reason="r")


def test_an_ordinary_thread_is_ordinary() -> None:
    assert is_ordinary(Fence("t", 0, 0), InMemorySealRegistry().status("t"))
