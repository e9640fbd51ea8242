"""What a run asks of the registry when it forks from an earlier checkpoint."""

from __future__ import annotations

from end_conversation_tool._core.fence import Fence
from end_conversation_tool._core.flow import Ask
from end_conversation_tool.registry.protocol import SealRegistry


def open_branch(registry: SealRegistry, fence: Fence) -> Ask:
    """Return what to ask of the registry for a run that forks; asking twice opens one branch."""
    fields = {"parent": fence.branch, "forked_from": fence.fork, "run_token": fence.run_token}
    return Ask(registry.open_branch, registry.aopen_branch, (fence.thread_id,), fields)
