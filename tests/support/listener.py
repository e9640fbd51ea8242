"""A sink that remembers what it was told."""

from __future__ import annotations

from end_conversation_tool.operations.telemetry import TelemetryEvent

__all__ = ["Listener"]


class Listener:
    def __init__(self) -> None:
        self.told: list[TelemetryEvent] = []

    def names(self) -> list[str]:
        return [event.name for event in self.told]

    def emit(self, event: TelemetryEvent) -> None:
        self.told.append(event)

    async def aemit(self, event: TelemetryEvent) -> None:
        self.told.append(event)
