"""Mistakes in how a graph is put together, told when it first runs: each once, with its cure."""

from __future__ import annotations

import logging
from typing import Any

from end_conversation_tool._core.run import RunContext
from end_conversation_tool._doors.langgraph.run_context import saver_of_run
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.protocol import SealRegistry

__all__ = ["Mistakes"]

_log = logging.getLogger(__name__)

_NO_CHECKPOINTER = (
    "the graph has no checkpointer: nothing is remembered, and no conversation can be ended; "
    "compile it with checkpointer=SealedSaver(saver, registry)"
)
_NO_THREAD = (
    "the run has no thread id, and its conversation cannot be ended; "
    'pass config={"configurable": {"thread_id": ...}}, or use another door, such as anthropic_sdk, without LangGraph'
)
_NOT_GUARDED = (
    "the checkpointer is a plain %s: messages to an ended conversation are refused when the model is to answer them, "
    "but writes past the model are kept; wrap it: checkpointer=SealedSaver(saver, registry)"
)
_HIDDEN = (
    "another middleware has taken end_conversation out of the tools, so the model cannot call it; with "
    "LLMToolSelectorMiddleware, pass always_include=['end_conversation']"
)
_NOT_REVIEWED = (
    "review=True, but nobody was asked about an end, which is denied; add "
    "HumanInTheLoopMiddleware(interrupt_on={'end_conversation': True}), or leave review out"
)


class Mistakes:
    """Tells mistakes of one door."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def check_run(self, context: RunContext, registry: SealRegistry) -> None:
        """Look at a run of the graph; a subagent's is its parent's business.

        Raises:
            InvalidInputError: Checkpointer and door look into different registries: a thread that one of them ends
                would stay open for the other.
        """
        if context.nested:
            return
        if not context.persisted:
            self.tell(_NO_CHECKPOINTER)
        elif context.thread_id is None:
            self.tell(_NO_THREAD)
        else:
            self._check_saver(saver_of_run(), registry)

    def hidden(self) -> None:
        """Tell that the model is not offered the tool."""
        self.tell(_HIDDEN)

    def not_reviewed(self) -> None:
        """Tell that a reviewer was to be asked, and that there is none."""
        self.tell(_NOT_REVIEWED)

    def tell(self, what: str, *values: object) -> None:
        """Log a warning, unless it was told before."""
        if what not in self._told:
            self._told.add(what)
            _log.warning(what, *values)

    def _check_saver(self, saver: Any, registry: SealRegistry) -> None:
        if getattr(saver, "fence_scope", None) is None:
            self.tell(_NOT_GUARDED, type(saver).__name__)
            return
        if saver.registry is not registry and saver.registry.signing_key != registry.signing_key:
            raise InvalidInputError(
                "registry: the SealedSaver of this graph has another registry than the middleware; hand the same one "
                "to both"
            )
