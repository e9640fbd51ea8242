"""``ConversationGuard`` and what it hands out; the public face is ``end_conversation_tool.anthropic_sdk``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING, Any, Unpack, cast

from end_conversation_tool._core.fence import Fence
from end_conversation_tool._core.flow import Flow, arun_flow, ask, run_flow
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.prompts import PROMPT_SECTION
from end_conversation_tool._core.provenance import Provenance, begins_with
from end_conversation_tool._core.records import validate_thread_id
from end_conversation_tool._core.run import Ruling, Run, RunContext
from end_conversation_tool._doors.anthropic.turn import TurnOutcome, outcome_of
from end_conversation_tool._doors.anthropic.wire import Response, check_messages, read_response, said_in, with_section
from end_conversation_tool._doors.door import DoorOptions, check_names, create_gate
from end_conversation_tool._doors.tool import anthropic_tool
from end_conversation_tool.errors import InvalidInputError, RegistryError
from end_conversation_tool.readers import ClaudeReader, Reader, ReadingBudget
from end_conversation_tool.registry.checks import check_subject
from end_conversation_tool.registry.protocol import ProvenanceStore, SealRegistry, StoredProvenance, check_registry

if TYPE_CHECKING:
    from anthropic.types import ToolParam

    from end_conversation_tool._doors.anthropic.runner import AsyncGuardedToolRunner, GuardedToolRunner

__all__ = ["Conversation", "ConversationGuard", "Turn", "TurnOutcome"]

_log = logging.getLogger(__name__)

_NOWHERE = ("", "-")
"""The place of a message that no history holds."""

_SAVES = 5
"""How often what another loop has just saved is read anew before this loop's part is given up."""


class ConversationGuard:
    """Lets the model of a raw Anthropic loop end the conversation, when the policy permits it.

    Args:
        registry: The truth about conversations; one that keeps provenance, as every registry of this package does.
        reader: Who reads the transcript when an end is asked for; ``None`` for the model of the loop, by ``client``.
        client: For the reader of the loop's own model: an ``Anthropic`` or ``AsyncAnthropic``; ``None`` for one that is
            made from the environment when it is first needed.
        prompt_section: What ``system`` adds to the system prompt; ``None`` adds nothing.
        strict_tool: Whether the API is to hold the model to the tool's schema.
        options: See ``DoorOptions``: ``policy``, ``mode``, ``watch``, ``language``, ``texts``, ``help_text``,
            ``keep_reasons``, ``sinks``, ``breaker``, ``count_threads``,
            ``asking_tools``.

    Raises:
        InvalidInputError: An argument is not usable.
    """

    def __init__(
        self,
        *,
        registry: SealRegistry,
        reader: Reader | None = None,
        client: Any = None,
        prompt_section: str | None = PROMPT_SECTION,
        strict_tool: bool = False,
        **options: Unpack[DoorOptions],
    ) -> None:
        check_registry(registry)
        if not isinstance(registry, ProvenanceStore):
            raise InvalidInputError(
                f"registry: expected a SealRegistry that is a ProvenanceStore too, got {type(registry).__name__}"
            )
        check_names(options)  # not those of graphs: nobody can be asked by an interrupt here
        self.store: ProvenanceStore = registry
        self.gate = create_gate(registry, reader=reader, **options)
        self._readers = _LoopReaders(client)
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
        self,
        conversation_id: str | None,
        *,
        subject: str | None = None,
        continues: str | None = None,
        subagent: bool = False,
    ) -> Conversation:
        """Return the conversation of this id. No I/O: it may be made anew for every request.

        Args:
            conversation_id: Your id. Without one nothing can be sealed, so every end is denied.
            subject: Whose conversation it is, by your own pseudonymous id; see ``ExperimentRegistry.attribute``.
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
        whose = None if subject is None else check_subject(subject)
        context = RunContext(conversation_id, persisted=conversation_id is not None, nested=subagent, subject=whose)
        return Conversation(self, context, continues)

    def reader_of(self, model: str | None) -> Reader | None:
        """Return who reads for a response of ``model``."""
        return self.gate.reader or self._readers.on(model)


class _LoopReaders:
    """The readers on the models of the loop: one for each model, made when it is first needed."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._readers: dict[str, ClaudeReader] = {}

    def on(self, model: str | None, budget: ReadingBudget | None = None) -> Reader | None:
        if not model:
            return None
        if model not in self._readers:
            is_async = type(self._client).__name__.startswith("Async")
            clients: dict[str, Any] = {"async_client" if is_async else "client": self._client} if self._client else {}
            self._readers[model] = ClaudeReader(model, budget=budget, **clients)
        return self._readers[model]


class Conversation:
    """One conversation; from ``ConversationGuard.conversation``. Holds nothing itself: several may be in use."""

    def __init__(self, guard: ConversationGuard, context: RunContext, continues: str | None) -> None:
        self.guard = guard
        self._gate, self._store = guard.gate, guard.store
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
        return run_flow(self._prepare(said_in(check_messages(messages))))

    async def abefore_request(self, messages: Sequence[Any]) -> Turn:
        """Async twin of ``before_request``."""
        return await arun_flow(self._prepare(said_in(check_messages(messages))))

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
        from end_conversation_tool._doors.anthropic.runner import (  # noqa: PLC0415 - it loads the SDK
            AsyncGuardedToolRunner,
        )

        return AsyncGuardedToolRunner(self, client, {"messages": messages, "tools": tools, "system": system, **params})

    def _prepare(self, said: list[ObservedMessage]) -> Flow[Turn]:
        """Admit, load what is known, and listen to what is new."""
        gate, context = self._gate, self._context
        yield from self._carry_over()
        stored: StoredProvenance | None = None
        if context.thread_id is not None:
            stored = yield from ask(self._store.load_provenance, self._store.aload_provenance, context.thread_id)
        saved = _unpacked(stored)
        run = yield from gate.admit(context, saved.get("known"))
        before = run.provenance
        if run.status is not None and context.fence is None:
            fence = Fence(run.status.thread_id, run.status.sequence, run.branch)
            run = run._replace(context=context._replace(fence=fence))
        if not begins_with(said, before, gate.registry.signing_key):
            # All of a changed history is listened to, wherever it was.
            run = run._replace(provenance=before._replace(last=_NOWHERE))
        run = yield from gate.hear(run, reversed(said))
        if run.provenance.turn == before.turn:  # the turn goes on: what was known before it is what was known before
            before = gate.provenance_of(saved.get("before"), context.thread_id or "").at(run.status, run.branch)
        return Turn(self, run, said, before, stored.version if stored else 0)

    def _carry_over(self) -> Flow[None]:
        """Take over the risk flags of the conversation that this one continues, once."""
        source, target = self._continues, self._context.thread_id
        if source is None or target is None:
            return
        registry = self._gate.registry
        yield from ask(registry.copy_status, registry.acopy_status, source, target, seals=False)
        self._continues = None

    def conclude(self, turn: Turn, message: Any) -> Flow[TurnOutcome]:
        """Check that the conversation is still open, rule on the response, and save what is known: for ``Turn``."""
        response = read_response(message)
        run = yield from self._admit_again(turn.run, response)
        run, ruling = yield from self._gate.rule(
            run, response.reply, lambda: turn.said, reader=self.guard.reader_of(response.model)
        )
        if response.reply.refused:
            # The refused turn leaves the history, and so must leave what is known of it; flags and doubts in it stay.
            broken = turn.before.broken or self._doubts(turn.said)
            run = run._replace(provenance=turn.before._replace(broken=broken, unrecorded=run.provenance.unrecorded))
        if ruling is None or ruling.seal is None:
            yield from self._save(replace(turn, run=run), response, ruling)
        return outcome_of(response, ruling)

    def _doubts(self, said: Sequence[ObservedMessage]) -> bool:
        """Whether what the user said last may be a sign of risk: no reader will see it once it has left the history."""
        from_user = dropwhile(lambda message: message.role != "user", reversed(said))
        users = list(takewhile(lambda message: message.role == "user", from_user))[::-1]
        return self._gate.doubts(users)

    def _admit_again(self, run: Run, response: Response) -> Flow[Run]:
        context = run.context._replace(model=response.model)
        try:
            present = yield from self._gate.admit(context)
        except RegistryError:
            if response.own_calls:
                raise
            _log.error("the registry could not be read after a response; no end is possible")
            return run._replace(context=context._replace(readable=False))
        return run._replace(context=present.context, status=present.status)

    def _save(self, turn: Turn, response: Response, ruling: Ruling | None) -> Flow[None]:
        """Save what is known; where another loop was faster, note the same in what it saved."""
        thread_id = turn.run.context.thread_id
        if thread_id is None:
            return
        try:
            for _ in range(_SAVES):
                known = {"known": turn.run, "before": turn.run._replace(provenance=turn.before)}
                body = json.dumps({name: self._gate.dump(run) for name, run in known.items()})
                saved = yield from ask(
                    self._store.save_provenance,
                    self._store.asave_provenance,
                    thread_id,
                    body,
                    replaces=turn.version,
                )
                if saved:
                    return
                turn = yield from self._prepare(turn.said)
                turn = yield from self._note(turn, response, ruling)
        except RegistryError as error:
            _log.error("what is known of a turn could not be saved and is lost: %s", type(error).__name__)
        else:
            _log.warning("what is known of a turn was given up: too many loops save this conversation at once")

    def _note(self, turn: Turn, response: Response, ruling: Ruling | None) -> Flow[Turn]:
        """Note a response that was ruled on already: never rule twice."""
        run, _ = yield from self._gate.rule(turn.run, response.reply._replace(end_calls=()), tuple)
        if ruling is not None:
            known = run.provenance
            run = run._replace(provenance=known._replace(denials=known.denials + 1, read_turn=known.turn))
        return replace(turn, run=run)


@dataclass(frozen=True, slots=True)
class Turn:
    """One request that was let out; from ``Conversation.before_request``.

    Attributes:
        conversation: What it belongs to.
        run: The admitted run.
        said: What its history says.
        before: What was known before the present turn of the user: what is left of it after a refusal.
        version: The version of what was saved.
    """

    conversation: Conversation
    run: Run
    said: list[ObservedMessage]
    before: Provenance
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
        return run_flow(self.conversation.conclude(self, response))

    async def aafter_response(self, response: Any) -> TurnOutcome:
        """Async twin of ``after_response``."""
        return await arun_flow(self.conversation.conclude(self, response))


def _unpacked(stored: StoredProvenance | None) -> Mapping[str, Any]:
    """Return the dumps that were saved; what cannot be read counts as nothing, and permits nothing."""
    try:
        saved = json.loads(stored.body) if stored else {}
    except (ValueError, RecursionError):
        return {}
    return saved if isinstance(saved, Mapping) else {}
