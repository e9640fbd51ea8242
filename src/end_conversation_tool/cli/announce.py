"""Who hears of what is done at the command line: OpenTelemetry, and the webhook that the environment names."""

from __future__ import annotations

import os

from end_conversation_tool.cli.output import note
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.operations.telemetry import TelemetryEvent
from end_conversation_tool.operations.telemetry_otel import OpenTelemetrySink
from end_conversation_tool.operations.webhook import WebhookSink

__all__ = ["WEBHOOK", "WEBHOOK_SECRET", "announce"]

WEBHOOK = "END_CONVERSATION_WEBHOOK"
"""Names the URL that events are posted to; no webhook without it."""

WEBHOOK_SECRET = "END_CONVERSATION_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
"""Names the secret that they are signed with."""


def announce(event: TelemetryEvent) -> None:
    """Tell whoever listens of something that is done already: what goes wrong here is said, and fails nothing."""
    OpenTelemetrySink().emit(event)
    url = os.environ.get(WEBHOOK)
    if not url:
        return
    try:
        sink = WebhookSink(url, secret=os.environ.get(WEBHOOK_SECRET, ""))
    except (InvalidInputError, ImportError) as error:
        note(f"done, but the webhook of {WEBHOOK} was not told: {error}")
        return
    sink.emit(event)
    sink.close()
    if not sink.delivered:
        note(f"done, but the webhook of {WEBHOOK} could not be reached")
