"""What the gate writes to the registry: flags, decisions, notices and seals, the seals within a breaker's limits."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from end_conversation_tool._core.flow import Flow, ask
from end_conversation_tool._core.operations import CircuitBreaker
from end_conversation_tool._core.records import (
    DecisionRecord,
    Mode,
    NoticeOutcome,
    Outcome,
    RiskFlag,
    RiskKind,
    SealOutcome,
    utc_now,
)
from end_conversation_tool._core.run import FlagRaised, Run, RunContext
from end_conversation_tool.errors import EndConversationError, InvalidInputError
from end_conversation_tool.operations.telemetry import Sink, risk_event, tell
from end_conversation_tool.registry.operations_protocol import ExperimentRegistry
from end_conversation_tool.registry.protocol import SealRegistry

__all__ = ["Enforcement"]

_log = logging.getLogger(__name__)


class Enforcement:
    """Writes what was decided; it judges nothing.

    Args:
        registry: The truth about threads.
        breaker: Turns enforcement into shadow mode when too many conversations end; ``None`` for none.
        sinks: Who is told of each new risk flag.

    Raises:
        InvalidInputError: The breaker is none, or the registry keeps no counts for it.
    """

    def __init__(self, registry: SealRegistry, breaker: CircuitBreaker | None, sinks: Sequence[Sink] = ()) -> None:
        self._registry, self._sinks = registry, sinks
        self._breaker: tuple[CircuitBreaker, ExperimentRegistry] | None = None
        if breaker is None:
            return
        if not isinstance(breaker, CircuitBreaker):
            raise InvalidInputError(f"breaker: expected None or a CircuitBreaker, got {breaker!r}")
        if not isinstance(registry, ExperimentRegistry):
            raise InvalidInputError(f"breaker: expected None with a {type(registry).__name__}, which keeps no counts")
        self._breaker = breaker, registry

    def raise_flags(self, run: Run, flags: Sequence[FlagRaised]) -> Flow[Run]:
        """Write flags, and tell of those that are new.

        What cannot be written stays with the thread's state, one of each kind, until it can. It is told of when it is
        found, not when it is written at last.
        """
        if not flags and not run.provenance.unrecorded:
            return run
        waiting: dict[RiskKind, FlagRaised] = {}
        waited = [
            FlagRaised(kind, source, message_id, digest=digest)
            for kind, source, message_id, digest in run.provenance.unrecorded
        ]
        told, recorded = {flag.kind for flag in waited}, False
        flags = [*waited, *flags]
        for number, flag in enumerate(flags):
            began = utc_now()
            written = yield from self._write(run.context.thread_id, flag)
            if written is None:
                waiting.setdefault(flag.kind, flag)
            new = flag.kind not in told if written is None else written.raised_at >= began
            recorded |= new and written is not None
            if new and number >= len(waited):
                told |= {flag.kind} if written is None else set()
                message = flag.message_id if written is None else written.message_id or ""
                event = risk_event(run.context.thread_id, flag.kind, flag.source, message, began)
                yield from tell(self._sinks, event)
        if recorded:
            yield from self._attribute(run.context)
        kept = tuple((flag.kind, flag.source, flag.message_id, flag.digest) for flag in waiting.values())
        # Those that waited count for this run as well: it has read the thread's state before they were written.
        raised = tuple(dict.fromkeys((*run.flagged, *(flag.kind for flag in flags))))
        return run._replace(flagged=raised, provenance=run.provenance._replace(unrecorded=kept))

    def _write(self, thread_id: str | None, flag: FlagRaised) -> Flow[RiskFlag | None]:
        """Write a flag, and return the one that stands: an older one where it was raised before, ``None`` for none."""
        if thread_id is None:
            return None
        try:
            return (
                yield from ask(
                    self._registry.flag_risk,
                    self._registry.aflag_risk,
                    thread_id,
                    kind=flag.kind,
                    source=flag.source,
                    message_id=flag.message_id or None,
                    digest=flag.digest or None,
                    score=flag.score,
                )
            )
        except EndConversationError as error:
            _log.error("a risk flag could not be written and waits in the state: %s", type(error).__name__)
            return None

    def _attribute(self, context: RunContext) -> Flow[None]:
        """Record whose thread it is of which something was just recorded. Without it only a view is poorer."""
        registry = self._registry
        if context.subject is None or context.thread_id is None or not isinstance(registry, ExperimentRegistry):
            return
        try:
            yield from ask(registry.attribute, registry.aattribute, context.thread_id, subject=context.subject)
        except EndConversationError as error:
            _log.warning("whose thread it is could not be recorded: %s", type(error).__name__)

    def tripped(self, mode: Mode) -> Flow[bool]:
        """Whether the circuit breaker has tripped; it is looked at again when it comes to sealing."""
        if self._breaker is None or mode is not Mode.ENFORCE:
            return False
        _, counting = self._breaker
        try:
            state = yield from ask(counting.breaker, counting.abreaker)
        except EndConversationError as error:
            _log.error("the circuit breaker cannot be read: %s", type(error).__name__)
            return False
        return state.tripped

    def commit(self, context: RunContext, record: DecisionRecord) -> Flow[SealOutcome | NoticeOutcome | None]:
        """Write the decision, with the seal or the notice that it leads to, before anybody hears of it."""
        if context.thread_id is None:
            return None
        written = yield from self._keep(context, record)
        yield from self._attribute(context)
        return written

    def _keep(self, context: RunContext, record: DecisionRecord) -> Flow[SealOutcome | NoticeOutcome | None]:
        registry, held = self._registry, context.fence
        sequence = held.sequence if held else None
        if record.outcome in (Outcome.NOTICED, Outcome.WOULD_HAVE_NOTICED):
            return (yield from ask(registry.give_notice, registry.agive_notice, record, held_sequence=sequence))
        if record.outcome is not Outcome.SEALED:
            yield from ask(registry.record_decision, registry.arecord_decision, record)
            return None
        token, checkpoint = (held.run_token if held else None), context.checkpoint_id
        if self._breaker is None:
            sealing = ask(
                registry.seal,
                registry.aseal,
                record,
                held_sequence=sequence,
                checkpoint_id=checkpoint,
                run_token=token,
            )
        else:
            breaker, counting = self._breaker
            sealing = ask(
                counting.seal_within,
                counting.aseal_within,
                record,
                breaker.limits(),
                held_sequence=sequence,
                checkpoint_id=checkpoint,
                run_token=token,
            )
        return (yield from sealing)
