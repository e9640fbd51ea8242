"""The circuit breaker, as a host sets it: when too many conversations end, none is ended until somebody has looked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from end_conversation_tool._core.operations import BreakerLimits
from end_conversation_tool.errors import InvalidInputError

__all__ = ["CircuitBreaker"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Above a limit, enforcement becomes shadow mode, for every process on the same registry, until it is reset.

    Looked at only when the model asks for an end: an ordinary turn costs nothing. Reset it with
    ``registry.reset_breaker(operator=..., reason=...)``.

    Attributes:
        max_ends_per_hour: Most ends within any 60 minutes; ``None`` for no such limit.
        max_ends_per_10_000_threads: Most ends within 24 hours for each 10,000 threads; ``None`` for no such limit.
        active_threads: Gives the number of threads of the last 24 hours; ``None`` to use the threads that the registry
            counted (``count_threads`` of the doors). One that fails is taken for no answer.
        least_threads: Fewer threads than these are taken for these.

    Raises:
        InvalidInputError: No limit, or one that is not usable.
    """

    max_ends_per_hour: int | None = None
    max_ends_per_10_000_threads: float | None = None
    active_threads: Callable[[], int] | None = None
    least_threads: int = 1_000

    def __post_init__(self) -> None:
        if self.max_ends_per_hour is None and self.max_ends_per_10_000_threads is None:
            raise InvalidInputError("max_ends_per_hour: expected at least one limit, got None for both")
        try:
            self._limits(None)
        except ValidationError as error:
            raise InvalidInputError(f"breaker: {error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from None

    def limits(self) -> BreakerLimits:
        """Return the limits as the registry checks them, with the number of threads as it is now."""
        if self.active_threads is None or self.max_ends_per_10_000_threads is None:
            return self._limits(None)
        try:
            return self._limits(self.active_threads())
        except Exception as error:  # noqa: BLE001 - the host's own function; the registry's count is as good
            _log.warning("active_threads failed: %s", type(error).__name__)
            return self._limits(None)

    def _limits(self, threads: int | None) -> BreakerLimits:
        return BreakerLimits(
            per_hour=self.max_ends_per_hour,
            per_10_000_threads=self.max_ends_per_10_000_threads,
            threads=threads,
            least_threads=self.least_threads,
        )
