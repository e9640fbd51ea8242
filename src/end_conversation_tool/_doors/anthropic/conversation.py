"""``ConversationGuard`` and what it hands out; the public face is ``end_conversation_tool.anthropic_sdk``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack, cast

from end_conversation_tool._core.fence import new_fence
from end_conversation_tool._core.flow import Ask, Flow, arun_flow, run_flow
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.prompts import PROMPT_SECTION
from end_conversation_tool._core.records import validate_thread_id
from end_conversation_tool._core.run import Ruling, RunContext, Visit
from end_conversation_tool._doors.anthropic.history import Heard, Voices
from end_conversation_tool._doors.anthropic.turn import TurnOutcome, outcome_of
from end_conversation_tool._doors.anthropic.wire import (
    Response,
    last_asked,
    read_response,
    transcript,
    voices_of,
    with_section,
)
from end_conversation_tool._doors.options import GateOptions
from end_conversation_tool._doors.tool import anthropic_tool
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import InvalidInputError, RegistryError
from end_conversation_tool.readers.base import Judge, warn_of_missing_judge
from end_conversation_tool.registry.protocol import LedgerStore, SealRegistry, StoredLedger
from end_conversation_tool.watch import default_detectors
from end_conversation_tool.watch.base import DetectorSuite

if TYPE_CHECKING:
    from anthropic.types import ToolParam

    from end_conversation_tool._doors.anthropic.runner import AsyncGuardedToolRunner, GuardedToolRunner

__all__ = ["Conversation", "ConversationGuard", "Turn", "TurnOutcome"]

_log = logging.getLogger(__name__)

_SAVES = 5
"""How often a ledger that another loop has just saved is read anew before this loop's evidence is given up."""


class ConversationGuard:
    """Lets the model of a raw Anthropic loop end the conversation, when the policy permits it.

    Args:
        registry: The truth about conversations; one that keeps ledgers, as every registry of this package does.
        policy: When an end is permitted.
        detectors: What is seen in messages; ``None`` for the offline detectors of this package.
        judge: A second model that is asked about an end which everything else permits; it can only deny.
        prompt_section: What ``system`` adds to the system prompt; ``None`` adds nothing.
        strict_tool: Whether the API is to hold the model to the tool's schema.
        options: See ``options.GateOptions``: ``language``, ``keep_reasons``, ``sinks``, ``breaker``, ``count_threads``.

    Raises:
        InvalidInputError: An argument is not usable.
    """

    def __init__(
        self,
        *,
        registry: SealRegistry,
        policy: EndConversationPolicy | None = None,
        detectors: DetectorSuite | None = None,
        judge: Judge | None = None,
        prompt_section: str | None = PROMPT_SECTION,
        strict_tool: bool = False,
        **options: Unpack[GateOptions],
    ) -> None:
        if not isinstance(registry, SealRegistry) or not isinstance(registry, LedgerStore):
            raise InvalidInputError(
                f"registry: expected a SealRegistry that is a LedgerStore too, got {type(registry).__name__}"
            )
        if policy is not None and not isinstance(policy, EndConversationPolicy):
            raise InvalidInputError(f"policy: expected an EndConversationPolicy, got {type(policy).__name__}")
        if judge is None and policy is not None and policy.require_judge:
            warn_of_missing_judge(policy.version)
        self.store: LedgerStore = registry
        self.gate = Gate(
            policy=policy if policy is not None else EndConversationPolicy(),
            registry=registry,
            detectors=default_detectors() if detectors is None else detectors,
            judge=judge,
            **options,
        )
        self._prompt_section = prompt_section
        self._strict_tool = strict_tool

    @property
    def tool(self) -> ToolParam:
        """The tool for your ``tools`` list: put it in every request, at the same place; it never changes."""
        return cast("ToolParam", anthropic_tool(strict=self._strict_tool))

    def system(self, prompt: str | Sequence[Mapping[str, Any]] | None = None) -> Any:
        """Return your system prompt with the instructions on ending: the same for every request.

        Args:
            prompt: A text or a list of text blocks, as ``system`` takes it; the result has the same shape.
        """
        return with_section(prompt, self._prompt_section)

    def conversation(
        self, conversation_id: str | None, *, continues: str | None = None, subagent: bool = False
    ) -> Conversation:
        """Return the conversation of this id. No I/O: it may be made anew for every request.

        Args:
            conversation_id: Your id. Without one nothing can be sealed, so every end is denied.
            continues: The conversation that this one edits and retries: what is known of risk comes along, its seal
                does not.
            subagent: Whether this loop works for another one, whose conversation it cannot end.

        Raises:
            InvalidInputError: An id is not usable, or both are the same.
        """
        if conversation_id is not None:
            conversation_id = validate_thread_id(conversation_id)
        if continues is not None:
            continues = validate_thread_id(continues)
            if conversation_id is None or continues == conversation_id:
                raise InvalidInputError("continues: expected the id of another conversation than conversation_id")
        context = RunContext(conversation_id, persisted=conversation_id is not None, nested=subagent)
        return Conversation(self, context, continues)


class Conversation:
    """One conversation; from ``ConversationGuard.conversation``. Holds no evidence itself: several may be in use."""

    def __init__(self, guard: ConversationGuard, context: RunContext, continues: str | None) -> None:
        self.guard = guard
        self._gate, self._store, self._key = guard.gate, guard.store, guard.gate.registry.signing_key
        self._context, self._continues = context, continues

    @property
    def id(self) -> str | None:
        """The id of the conversation."""
        return self._context.thread_id

    def before_request(self, messages: Sequence[Any]) -> Turn:
        """Let a request go out: to be called before each, with the messages that it will bring.

        Args:
            messages: The whole history, as ``messages`` of the request.

        Raises:
            ThreadSealedError: The conversation has ended; the error carries the statement for the user.
            RegistryError: Nobody knows whether it has.
            InvalidInputError: It is no list of messages.
        """
        return run_flow(self._preparing(*self._read(messages), self._context))

    async def abefore_request(self, messages: Sequence[Any]) -> Turn:
        """Async twin of ``before_request``."""
        return await arun_flow(self._preparing(*self._read(messages), self._context))

    def _read(self, messages: Sequence[Any]) -> tuple[tuple[Any, ...], Voices]:
        voices = voices_of(messages, self._key)
        return tuple(messages), voices

    def tool_runner(
        self, client: Any, *, messages: list[Any], tools: Iterable[Any] = (), system: Any = None, **params: Any
    ) -> GuardedToolRunner:
        """Return the SDK's own tool runner, guarded: ``client.beta.messages.tool_runner`` with an ``Anthropic`` client.

        Args:
            client: The client.
            messages: The history; it is brought up to date in place.
            tools: Your tools, as the SDK takes them; ours comes last.
            system: Your system prompt; ours is added.
            params: Whatever else the SDK's tool runner takes, ``run_tools_eagerly`` excepted: it runs tools before
                anybody could decide.

        Raises:
            InvalidInputError: ``run_tools_eagerly``, or ``messages`` is no list.
        """
        from end_conversation_tool._doors.anthropic.runner import GuardedToolRunner  # noqa: PLC0415 - it loads the SDK

        return GuardedToolRunner(self, client, {"messages": messages, "tools": tools, "system": system, **params})

    def atool_runner(
        self, client: Any, *, messages: list[Any], tools: Iterable[Any] = (), system: Any = None, **params: Any
    ) -> AsyncGuardedToolRunner:
        """Async twin of ``tool_runner``, for an ``AsyncAnthropic`` client; it is iterated with ``async for``."""
        from end_conversation_tool._doors.anthropic.runner import AsyncGuardedToolRunner  # noqa: PLC0415 - it loads the SDK

        return AsyncGuardedToolRunner(self, client, {"messages": messages, "tools": tools, "system": system, **params})

    def _preparing(self, messages: tuple[Any, ...], voices: Voices, context: RunContext) -> Flow[Turn]:
        """Admit, load the ledger, and listen to what was not heard yet."""
        gate = self._gate
        yield from self._carrying_over()
        stored: StoredLedger | None = None
        if context.thread_id is not None:
            stored = yield Ask(self._store.load_ledger, self._store.aload_ledger, (context.thread_id,))
        ledger, heard = _unpacked(stored)
        visit: Visit = yield Ask(gate.admit, gate.aadmit, (context, ledger))
        if visit.status is not None and context.fence is None:
            visit = replace(visit, context=replace(context, fence=new_fence(visit.status, visit.branch)))
        if visit.ledger.pending is not None and not last_asked(messages):
            # The model never heard that it must confirm: the answer to its call was lost (R8).
            visit = visit.noting(visit.ledger.break_row())
        unheard, heard = voices.since(heard)
        if unheard:
            visit = yield Ask(gate.hear, gate.ahear, (visit, unheard))
        return Turn(self, visit, messages, voices, heard, stored.version if stored else 0)

    def _carrying_over(self) -> Flow[None]:
        """Take over the risk flags of the conversation that this one continues, once."""
        if self._continues is None:
            return
        registry = self._gate.registry
        ids = (self._continues, self._context.thread_id)
        yield Ask(registry.copy_status, registry.acopy_status, ids, {"seals": False})
        self._continues = None

    def concluding(self, turn: Turn, message: Any) -> Flow[TurnOutcome]:
        """Check that the conversation is still open, rule on the response, and save the evidence: for ``Turn``."""
        gate, response = self._gate, read_response(message, self._key)
        visit = yield from self._readmitting(turn.visit, response)
        asked = (visit, response.reply, lambda: transcript(turn.messages, turn.voices))
        visit, ruling = yield Ask(gate.rule, gate.arule, asked)
        if ruling is None or ruling.seal is None:
            yield from self._saving(replace(turn, visit=visit), response, ruling)
        return outcome_of(response, ruling)

    def _readmitting(self, visit: Visit, response: Response) -> Flow[Visit]:
        gate, context = self._gate, replace(visit.context, model=response.model)
        try:
            present: Visit = yield Ask(gate.admit, gate.aadmit, (context,))
        except RegistryError:
            if response.own_calls:
                raise
            _log.error("the registry could not be read after a response; no end is possible")
            return replace(visit, context=replace(context, readable=False))
        return replace(visit, context=present.context, status=present.status)

    def _saving(self, turn: Turn, response: Response, ruling: Ruling | None) -> Flow[None]:
        """Save the ledger; where another loop was faster, note the same facts in what it saved."""
        context = turn.visit.context
        if context.thread_id is None:
            return
        try:
            for _ in range(_SAVES):
                body = json.dumps({"ledger": self._gate.dump(turn.visit), **turn.heard.dump()})
                ask = (context.thread_id, body)
                if (yield Ask(self._store.save_ledger, self._store.asave_ledger, ask, {"replaces": turn.version})):
                    return
                turn = yield from self._preparing(turn.messages, turn.voices, context)
                turn = yield from self._noting(turn, response, ruling)
        except RegistryError as error:
            _log.error("evidence could not be saved and is lost: %s", type(error).__name__)
        else:
            _log.warning("evidence was given up: too many loops save this conversation at once")

    def _noting(self, turn: Turn, response: Response, ruling: Ruling | None) -> Flow[Turn]:
        """Note a response that was ruled on already: never rule twice."""
        if ruling is not None:
            return replace(turn, visit=turn.visit.noting(turn.visit.ledger.count_denial()))
        asked = (turn.visit, response.reply, tuple)
        visit, _ = yield Ask(self._gate.rule, self._gate.arule, asked)
        return replace(turn, visit=visit)


@dataclass(frozen=True, slots=True)
class Turn:
    """One request that was let out; from ``Conversation.before_request``."""

    conversation: Conversation
    visit: Visit
    messages: tuple[Any, ...]
    voices: Voices
    heard: Heard
    version: int

    def after_response(self, response: Any) -> TurnOutcome:
        """Rule on the response: to be called before anything of it is shown as final, or run.

        Args:
            response: The finished message: of ``create``, or of ``get_final_message`` of a stream.

        Raises:
            ThreadSealedError: Another loop has ended the conversation meanwhile.
            StaleRunError: It was ended and reopened meanwhile.
            RegistryError: The registry cannot be read, and the response calls tools of your own.
            InvalidInputError: It is no finished message.
        """
        return run_flow(self.conversation.concluding(self, response))

    async def aafter_response(self, response: Any) -> TurnOutcome:
        """Async twin of ``after_response``."""
        return await arun_flow(self.conversation.concluding(self, response))


def _unpacked(stored: StoredLedger | None) -> tuple[Any, Heard]:
    """Return the ledger's dump and what was heard; what cannot be read counts as nothing, and permits nothing."""
    if stored is None:
        return None, Heard()
    try:
        found = json.loads(stored.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return {}, Heard()
    return found.get("ledger"), Heard.load(found)
