"""The channels of our state where several nodes of one step write to it: a plain one fails then (InvalidUpdateError).

A graph may send to its model node twice in a step, and subgraphs that share our channels may run side by side. One
write, which is the ordinary case, is taken as a plain channel takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langgraph.channels import LastValue

from end_conversation_tool._core.provenance import together

__all__ = ["Heard", "Told"]


class Heard(LastValue[Any]):
    """Keeps all that was written, since only who has the key can join it; what says nothing new does not count."""

    def update(self, values: Sequence[Any]) -> bool:
        """Take what was written in one step."""
        if len(values) < 2:  # noqa: PLR2004 - more than one
            return super().update(values)
        fresh = [value for value in values if value != self.value]
        return super().update([together(fresh)] if len(fresh) > 1 else fresh or values[:1])


class Told(LastValue[Any]):
    """Keeps the last that says something: an end, an answer, that the turn is over."""

    def update(self, values: Sequence[Any]) -> bool:
        """Take what was written in one step."""
        return super().update(values if len(values) < 2 else [next(filter(None, reversed(values)), values[-1])])  # noqa: PLR2004 - more than one
