"""A real agent: sends it what a user says, and reports what became of each turn.

For the command line and for tests. Nothing is judged here: every fact of a report is read from the graph's state and
from the registry after the turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

try:
    from langchain.agents import create_agent
except ImportError as error:
    raise ImportError("this needs LangChain: pip install 'end-conversation-tool[langchain]'") from error
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.provenance import Provenance
from end_conversation_tool._core.records import DecisionRecord, RiskFlag, Seal, new_id
from end_conversation_tool._doors.langgraph.messages import STATE_KEY
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.readers import Reader
from end_conversation_tool.registry.protocol import SealRegistry

__all__ = ["TalkingAgent", "TurnReport"]


@dataclass(frozen=True, slots=True)
class TurnReport:
    """What became of one user message.

    Attributes:
        user: What the user said.
        messages: What the agent added to the thread.
        refusal: What the user is told instead, when the thread was sealed before; ``None`` otherwise.
        turn: Number of the user turn.
        counts: User turns that show each kind of evidence, where a request was decided on in this turn.
        decisions: The decisions of this turn.
        risk_flags: The flags that stand after it.
        seal: The thread's seal after it; ``None`` while it is open.
    """

    user: str
    messages: tuple[AnyMessage, ...] = ()
    refusal: str | None = None
    turn: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    decisions: tuple[DecisionRecord, ...] = ()
    risk_flags: tuple[RiskFlag, ...] = ()
    seal: Seal | None = None


class TalkingAgent:
    """One ``create_agent`` graph with ``EndConversationMiddleware``, and its threads.

    Args:
        model: The model that plays the assistant.
        registry: The truth about threads.
        checkpointer: Keeps the threads.
        policy: When an end is permitted.
        reader: Who reads when an end is asked for; ``None`` for the model itself.
        tools: What the agent can do besides.
    """

    def __init__(
        self,
        model: BaseChatModel,
        *,
        registry: SealRegistry,
        checkpointer: BaseCheckpointSaver[Any],
        policy: EndConversationPolicy,
        reader: Reader | None = None,
        tools: tuple[BaseTool, ...] = (),
    ) -> None:
        self._registry = registry
        guard = EndConversationMiddleware(registry=registry, policy=policy, reader=reader)
        self._agent = create_agent(model, list(tools), middleware=[guard], checkpointer=checkpointer)

    def say(self, thread_id: str, text: str) -> TurnReport:
        """Send one user message and report what became of it.

        Args:
            thread_id: The thread.
            text: What the user says.

        Raises:
            RegistryError: The registry cannot be read, so the message was refused.
        """
        before = len(self._registry.decisions(thread_id))
        message = HumanMessage(text, id=new_id())
        try:
            state = self._agent.invoke({"messages": [message]}, {"configurable": {"thread_id": thread_id}})
        except ThreadSealedError as error:
            seal = self._registry.status(thread_id).seal
            return TurnReport(text, refusal=error.statement, seal=seal)
        ids = [known.id for known in state["messages"]]
        return self._report(thread_id, text, tuple(state["messages"][ids.index(message.id) + 1 :]), before)

    def _report(self, thread_id: str, text: str, messages: tuple[AnyMessage, ...], before: int) -> TurnReport:
        values = self._agent.get_state({"configurable": {"thread_id": thread_id}}).values
        known = Provenance.load(values.get(STATE_KEY), self._registry.signing_key, thread_id) or Provenance()
        status, decisions = self._registry.status(thread_id), tuple(self._registry.decisions(thread_id)[before:])
        shown = {(one.kind, one.turn) for record in decisions for one in record.decision.evidence}
        return TurnReport(
            text,
            messages,
            turn=known.turn,
            counts=Counter(str(kind) for kind, _ in shown),
            decisions=decisions,
            risk_flags=tuple(flag for flag in status.risk_flags if flag.active),
            seal=status.seal,
        )
