"""What LangGraph tells of the run that a node belongs to, and mistakes of its graph, each told once, with its cure."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from langchain_core.messages import AnyMessage
from langgraph.checkpoint.serde.types import INTERRUPT
from langgraph.config import get_config
from langgraph.types import Command

from end_conversation_tool._checkpoint.active_runs import current_fence, take_status
from end_conversation_tool._core.flow import Flow, ask
from end_conversation_tool._core.run import RunContext
from end_conversation_tool._doors.upstream import context_flags, subject_in
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.protocol import SealRegistry

__all__ = ["UNTOLD", "Mistakes", "PresentRun", "model_name"]

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
    "review=True, but the run did not go on with a reviewer's answer about the end, which is denied; add "
    "HumanInTheLoopMiddleware(interrupt_on={'end_conversation': True}), or an interrupt of your own whose payload "
    "names the call in 'tool_call_id', or leave review out; whoever is asked last before the tools counts"
)

_CHECKPOINTER = "__pregel_checkpointer"
_READ = "__pregel_read"
_NAMESPACE_SEPARATOR = "|"
_CALL = "__pregel_call"
"""Where a node's config has what starts a task of its own: a call bound to the loop of the run."""

_BEGAN = "_initial_checkpoint_config"
"""Where the loop of a run has the checkpoint that it began with."""

_STEPS_OF_INPUT = 3
"""Steps from the checkpoint that a run begins with to its first node: the input is written, and then taken up."""

UNTOLD = object()
"""What a run was called with, where LangGraph does not tell."""


class PresentRun(NamedTuple):
    """The run that a node belongs to, as LangGraph tells of it; each node asks once.

    Attributes:
        configurable: Of the node's config.
        metadata: Of the node's config.
        loop: What drives the run; ``None`` where it cannot be told.
        given: What the run was called with; ``None`` where it goes on from where it stood, ``UNTOLD`` where nobody
            tells.
    """

    configurable: Mapping[str, Any]
    metadata: Mapping[str, Any]
    loop: Any
    given: Any

    @classmethod
    def here(cls) -> Self:
        """Return the one of the present node."""
        config = get_config()
        configurable = config.get("configurable", {})
        call = configurable.get(_CALL)
        loop = getattr(getattr(call, "keywords", {}).get("schedule_task"), "__self__", None)
        return cls(configurable, config.get("metadata", {}), loop, getattr(loop, "input", UNTOLD))

    def context(self, runtime: Any, model: Any) -> RunContext:
        """Return what is known about the run.

        Args:
            runtime: The node's ``Runtime`` or ``ToolRuntime``.
            model: The chat model, or ``None``.
        """
        configurable = self.configurable
        info, host = getattr(runtime, "execution_info", None), getattr(runtime, "context", None)
        thread_id = configurable.get("thread_id") if info is None else info.thread_id
        namespace = str(configurable.get("checkpoint_ns", "") if info is None else info.checkpoint_ns)
        saver = configurable.get(_CHECKPOINTER)
        scope = getattr(saver, "fence_scope", None)
        guarded = None if scope is None or thread_id is None else (configurable, str(thread_id), scope)
        nested = _NAMESPACE_SEPARATOR in namespace
        return RunContext(
            thread_id=None if thread_id is None else str(thread_id),
            persisted=saver is not None,
            model=model_name(model),
            nested=nested,
            checkpoint_id=None if info is None else info.checkpoint_id,
            host_flags=context_flags(host),
            subject=subject_in(host, configurable),
            fence=None if guarded is None else current_fence(*guarded),
            status=None if guarded is None or nested else take_status(*guarded, self._step_before()),
        )

    def _step_before(self) -> int | None:
        """Return the step of the checkpoint that the run began with, if the present node is among its first."""
        step = self.metadata.get("langgraph_step")
        goes_on = self.given is None or isinstance(self.given, Command)
        return step - (1 if goes_on else _STEPS_OF_INPUT) if isinstance(step, int) else None

    def asked_before(self) -> Flow[list[object]]:
        """Return what people were asked by the interrupts that the run goes on from: nothing where none tells.

        The checkpoint that the run began with keeps it, whatever the checkpointer and its durability.
        """
        began = (getattr(self.loop, _BEGAN, None) or {}).get("configurable", {})
        saver = getattr(self.loop, "checkpointer", None)
        if saver is None or not began.get("checkpoint_id"):
            return []
        there = {name: began[name] for name in ("thread_id", "checkpoint_ns", "checkpoint_id") if name in began}
        found = yield from ask(saver.get_tuple, saver.aget_tuple, {"configurable": there})
        kept = found.pending_writes if found is not None else None
        return [one.value for _, channel, asked in kept or () if channel == INTERRUPT for one in asked]

    def alone(self) -> bool:
        """Whether the present node runs once in this step, and not for several that were sent to it."""
        tasks: Mapping[str, Any] = getattr(self.loop, "tasks", {})
        if len(tasks) < 2:  # noqa: PLR2004 - others beside it
            return True
        node = self.metadata.get("langgraph_node")
        return [task.name for task in list(tasks.values())].count(node) < 2  # noqa: PLR2004 - more than itself

    def kept_messages(self, given: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
        """Return the messages that the run's own channel holds; those in a node's input may have been sent to it alone.

        Args:
            given: The messages in the node's input; returned when it cannot be told.
        """
        read: Any = self.configurable.get(_READ)
        try:
            return list(read("messages"))
        except (KeyError, TypeError):
            return given


def model_name(model: Any) -> str | None:
    """Return the name by which a chat model is known to its provider, if it tells."""
    for attribute in ("model_name", "model", "model_id"):
        value = getattr(model, attribute, None)
        if isinstance(value, str) and value:
            return value
    return None


class Mistakes:
    """Tells mistakes of one door."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def check_run(self, here: PresentRun, context: RunContext, registry: SealRegistry) -> None:
        """Look at a run of the graph; a subagent's is its parent's business.

        Args:
            here: The run.
            context: What is known about it.
            registry: The door's.

        Raises:
            InvalidInputError: Checkpointer and door look into different registries, or know the thread by different
                ids: a thread that one of them ends would stay open for the other.
        """
        if context.nested:
            return
        if not context.persisted:
            self.tell(_NO_CHECKPOINTER)
        elif context.thread_id is None:
            self.tell(_NO_THREAD)
        else:
            self._check_saver(here.configurable.get(_CHECKPOINTER), context, registry)

    def hidden(self) -> None:
        """Tell that the model is not offered the tool."""
        self.tell(_HIDDEN)

    def not_reviewed(self) -> None:
        """Tell that a reviewer was to be asked, and was not."""
        self.tell(_NOT_REVIEWED)

    def tell(self, what: str, *values: object) -> None:
        """Log a warning, unless it was told before."""
        if what not in self._told:
            self._told.add(what)
            _log.warning(what, *values)

    def _check_saver(self, saver: Any, context: RunContext, registry: SealRegistry) -> None:
        if getattr(saver, "fence_scope", None) is None:
            self.tell(_NOT_GUARDED, type(saver).__name__)
            return
        if saver.registry is not registry and saver.registry.signing_key != registry.signing_key:
            raise InvalidInputError(
                "registry: the SealedSaver of this graph has another registry than the middleware; hand the same one "
                "to both"
            )
        if context.fence is None:
            raise InvalidInputError(
                "checkpointer: the SealedSaver of this graph does not know the thread of this run, so that it guards "
                "another one; what gives threads other ids belongs inside: SealedSaver(wrapper, registry)"
            )
