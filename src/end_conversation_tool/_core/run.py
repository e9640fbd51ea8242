"""What a door and the gate hand to each other: a run, a reply, a ruling. Plain values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from end_conversation_tool._core.fence import Fence
from end_conversation_tool._core.flow import Beside
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.provenance import Provenance
from end_conversation_tool._core.records import DecisionRecord, Seal, ThreadStatus
from end_conversation_tool._core.vocabulary import RiskKind

__all__ = ["Call", "FlagRaised", "Reply", "Ruling", "Run", "RunContext"]


@dataclass(frozen=True, slots=True)
class FlagRaised:
    """A risk flag that a message calls for; fields as in ``RiskFlag``, empty where there is none."""

    kind: RiskKind
    source: str
    message_id: str
    digest: str = field(default="", kw_only=True)
    score: float | None = None


class RunContext(NamedTuple):
    """What a door knows about the run.

    Attributes:
        thread_id: The thread; ``None`` when the run has none.
        persisted: Whether a checkpointer keeps the thread.
        model: Name of the model, where it is known.
        nested: Whether the caller is a subagent, which cannot end its parent's conversation (R10).
        checkpoint_id: The checkpoint on which the node runs.
        host_flags: What the host knows about risk, see ``upstream``.
        subject: Whose thread it is, by the host's own pseudonymous id; ``None`` where the host does not say.
        readable: Whether the registry could be read when the reply came.
        fence: What the run read when it started; ``None`` when no ``SealedSaver`` guards the thread.
        status: The registry's view of the thread, where the run has just read it; ``None`` when it is to be read.
    """

    thread_id: str | None
    persisted: bool = True
    model: str | None = None
    nested: bool = False
    checkpoint_id: str | None = None
    host_flags: tuple[FlagRaised, ...] = ()
    subject: str | None = None
    readable: bool = True
    fence: Fence | None = None
    status: ThreadStatus | None = None


class Call(NamedTuple):
    """One tool call of a reply.

    Attributes:
        id: The provider's id of the call.
        name: Name of the tool.
        arguments: As the model gave them; anything but a mapping is malformed.
    """

    id: str
    name: str
    arguments: Any


class Reply(NamedTuple):
    """One model reply, as a door hands it over.

    Attributes:
        message: Its text, as the user sees it, and the message object.
        end_calls: Its calls of ``end_conversation``.
        refused: Whether the provider itself says that this reply is a refusal; its tool calls do not count then.
    """

    message: ObservedMessage
    end_calls: tuple[Call, ...] = ()
    refused: bool = False


class Run(NamedTuple):
    """A run that was admitted.

    Attributes:
        context: What the door knows about it.
        status: The registry's view of the thread; ``None`` when the run has no thread.
        branch: The branch that it continues.
        provenance: What was said on the branch, as digests.
        flagged: Kinds of risk that this run has raised flags for.
        watching: The watch, while it looks at what the user said; ``None`` where it is done.
    """

    context: RunContext
    status: ThreadStatus | None
    branch: int
    provenance: Provenance
    flagged: tuple[RiskKind, ...] = ()
    watching: Beside[Any] | None = None

    def leaving(self, message_id: str) -> Run:
        """Return the run with the id of the last message that it leaves on the branch."""
        return self._replace(provenance=self.provenance._replace(last_message=message_id))


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of a call of the tool.

    Attributes:
        record: The decision as recorded.
        text: The tool result for the model.
        seal: The seal, when the end was honoured.
        closing: What the user reads as the last word of this turn: the statement, the notice, or that somebody is still
            there. Empty where the run goes on.
        asks: Whether only a yes is missing, the user's own or a reviewer's, for which the app asks. Nothing is recorded
            yet; ``Gate.settle`` and ``Gate.review`` take the answer.
    """

    record: DecisionRecord
    text: str
    seal: Seal | None = None
    closing: str = ""
    asks: bool = False

    @property
    def ends_run(self) -> bool:
        """Whether the run stops here: the end was honoured, notice was given, or the attempts are used up."""
        return bool(self.closing)
