"""What the gate writes to the registry: risk flags, decisions and seals, the seals within the limits of a breaker."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from end_conversation_tool._core.breaker import CircuitBreaker
from end_conversation_tool._core.flow import Ask, Flow
from end_conversation_tool._core.operations import BreakerState
from end_conversation_tool._core.records import DecisionRecord, Mode, Outcome, RiskKind, SealOutcome
from end_conversation_tool._core.run import FlagRaised, RunContext, Visit
from end_conversation_tool.errors import EndConversationError, InvalidInputError
from end_conversation_tool.registry.operations_protocol import ExperimentRegistry
from end_conversation_tool.registry.protocol import SealRegistry

__all__ = ["Enforcement"]

_log = logging.getLogger(__name__)


class Enforcement:
    """Writes what was decided; it judges nothing.

    Args:
        registry: The truth about threads.
        breaker: Turns enforcement into shadow mode when too many conversations end; ``None`` for none.

    Raises:
        InvalidInputError: A breaker, and a registry that keeps no counts.
    """

    def __init__(self, registry: SealRegistry, breaker: CircuitBreaker | None) -> None:
        self._registry = registry
        self._breaker: tuple[CircuitBreaker, ExperimentRegistry] | None = None
        if breaker is not None:
            if not isinstance(registry, ExperimentRegistry):
                raise InvalidInputError(
                    f"breaker: expected None with a {type(registry).__name__}, which keeps no counts"
                )
            self._breaker = breaker, registry

    def flagging(self, visit: Visit, flags: Sequence[FlagRaised]) -> Flow[Visit]:
        """Write flags; what cannot be written stays in the ledger, one of each kind, until it can."""
        unrecorded: dict[RiskKind, FlagRaised] = {}
        for flag in flags:
            if visit.context.thread_id is None:
                unrecorded.setdefault(flag.kind, flag)
                continue
            fields = {
                "kind": flag.kind,
                "source": flag.source,
                "message_id": flag.message_id or None,
                "score": flag.score,
            }
            try:
                yield Ask(self._registry.flag_risk, self._registry.aflag_risk, (visit.context.thread_id,), fields)
            except EndConversationError as error:
                _log.error("a risk flag could not be written and is kept in the ledger: %s", type(error).__name__)
                unrecorded.setdefault(flag.kind, flag)
        kept = tuple((flag.kind, flag.source, flag.message_id) for flag in unrecorded.values())
        if kept == visit.ledger.unrecorded_risk:
            return visit
        return visit.noting(replace(visit.ledger, unrecorded_risk=kept))

    def tripped(self, mode: Mode) -> Flow[bool]:
        """Whether the circuit breaker has tripped; it is looked at again when it comes to sealing."""
        if self._breaker is None or mode is not Mode.ENFORCE:
            return False
        _, counting = self._breaker
        try:
            state: BreakerState = yield Ask(counting.breaker, counting.abreaker)
        except EndConversationError as error:
            _log.error("the circuit breaker cannot be read: %s", type(error).__name__)
            return False
        return state.tripped

    def committing(self, context: RunContext, record: DecisionRecord) -> Flow[SealOutcome | None]:
        """Write the decision, and the seal if there is one, before anybody hears of it."""
        if record.outcome is not Outcome.SEALED:
            if context.thread_id is not None:
                yield Ask(self._registry.record_decision, self._registry.arecord_decision, (record,))
            return None
        held = context.fence
        fence = {
            "held_sequence": held.sequence if held else None,
            "checkpoint_id": context.checkpoint_id,
            "run_token": held.run_token if held else None,
        }
        ask = Ask(self._registry.seal, self._registry.aseal, (record,), fence)
        if self._breaker is not None:
            breaker, counting = self._breaker
            ask = Ask(counting.seal_within, counting.aseal_within, (record, breaker.limits()), fence)
        sealing: SealOutcome = yield ask
        return sealing
