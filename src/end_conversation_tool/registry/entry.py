"""What a run asks of the registry when it forks from an earlier checkpoint."""

from __future__ import annotations

from end_conversation_tool._core.fence import Fence
from end_conversation_tool._core.flow import Flow, ask
from end_conversation_tool._core.records import ThreadStatus
from end_conversation_tool.registry.protocol import SealRegistry


def open_branch(registry: SealRegistry, fence: Fence) -> Flow[ThreadStatus]:
    """Open the branch of a run that forks, and return the thread after it; asking twice opens one branch."""
    return (
        yield from ask(
            registry.open_branch,
            registry.aopen_branch,
            fence.thread_id,
            parent=fence.branch,
            forked_from=fence.fork or "",
            run_token=fence.run_token,
        )
    )
