"""A sink that posts each event to a URL: signed, tried again, in a thread of its own, never in the way of a turn.

Signature and body are those of Standard Webhooks (https://www.standardwebhooks.com, extra ``[webhook]``). Whoever
receives an event checks it with a library of that standard, in Python ``standardwebhooks.Webhook(secret).verify(body,
headers)``. An event that is delivered again has the same ``webhook-id``; two events never have.
Events that find the queue full, and those that cannot be delivered, are counted and lost.
"""

from __future__ import annotations

import json
import logging
from base64 import b64decode
from datetime import datetime
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Protocol
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from end_conversation_tool._core.records import utc_now
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.operations.telemetry import TelemetryEvent

__all__ = ["WebhookSink"]

_log = logging.getLogger(__name__)

_RETRIED = {408, 425, 429}
_MAX_PAUSE_SECONDS = 30.0
_LEAST_SECRET_BYTES = 24  # as the standard says


class WebhookSink:
    """Posts events to a URL. Close it when done, or what waits is lost with the process.

    Args:
        url: An ``http://`` or ``https://`` URL.
        secret: ``whsec_`` and at least 24 random bytes in base64, shared with whoever receives the events.
        timeout: Seconds for one attempt.
        attempts: Attempts for each event, 1 to 10; pauses of 0.5, 1, 2, ... seconds lie between them.
        queue_size: Most events that wait.
        pause: First pause, in seconds.

    Attributes:
        delivered: Events that were taken by the receiver.
        lost: Events that found the queue full, were refused, or could not be delivered.

    Raises:
        InvalidInputError: An argument is not usable.
        ImportError: The extra ``[webhook]`` is missing.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str,
        timeout: float = 5.0,
        attempts: int = 4,
        queue_size: int = 1_000,
        pause: float = 0.5,
    ) -> None:
        if not isinstance(url, str) or urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
            raise InvalidInputError(f"url: expected an http:// or https:// URL, got {type(url).__name__}")
        _check("timeout", timeout, 0.01, 60)
        _check("attempts", attempts, 1, 10)
        _check("queue_size", queue_size, 1, 1_000_000)
        _check("pause", pause, 0, _MAX_PAUSE_SECONDS)
        self._url, self._signer, self._timeout = url, _signer(secret), timeout
        self._attempts, self._pause = int(attempts), pause
        self._queue: Queue[TelemetryEvent] = Queue(maxsize=int(queue_size))
        self._closing = Event()
        self._stopped = Event()
        self._thread: Thread | None = None
        self.delivered = self.lost = 0

    def emit(self, event: TelemetryEvent) -> None:
        """Queue an event; never waits."""
        if self._thread is None and not self._closing.is_set():
            self._thread = Thread(target=self._run, name="end-conversation-webhook", daemon=True)
            self._thread.start()
        if self._closing.is_set():
            self.lost += 1
            return
        try:
            self._queue.put_nowait(event)
        except Full:
            self.lost += 1

    async def aemit(self, event: TelemetryEvent) -> None:
        """Async twin of ``emit``."""
        self.emit(event)

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what waits, for at most ``timeout`` seconds, and stop; closing twice is harmless."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout)
            self._stopped.set()
            self._thread.join(self._timeout + 1)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                event = self._queue.get(timeout=0.05)
            except Empty:
                if self._closing.is_set():
                    return
                continue
            if self._deliver(event):
                self.delivered += 1
            else:
                self.lost += 1

    def _deliver(self, event: TelemetryEvent) -> bool:
        data = {"thread_id": event.thread_id, **event.fields}
        body = json.dumps({"type": event.name, "timestamp": event.at.isoformat(), "data": data})
        pause = self._pause
        for attempt in range(self._attempts):
            if attempt and self._stopped.wait(pause):
                return False
            if attempt:
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)
            try:
                self._post(event.id, body)
            except HTTPError as error:
                error.close()
                _log.warning("the webhook answered %d", error.code)
                if error.code < 500 and error.code not in _RETRIED:  # noqa: PLR2004 - another attempt changes nothing
                    return False
            except Exception as error:  # noqa: BLE001 - nothing may end this thread
                _log.warning("the webhook could not be reached: %s", type(error).__name__)
            else:
                return True
        return False

    def _post(self, name: str, body: str) -> None:
        now = utc_now()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(name, now, body),
        }
        request = Request(self._url, data=body.encode(), headers=headers, method="POST")  # noqa: S310 - scheme checked
        with urlopen(request, timeout=self._timeout) as answer:  # noqa: S310 - as above
            answer.read(1)


class _Signer(Protocol):
    """What is used of a ``standardwebhooks.Webhook``."""

    def sign(self, msg_id: str, timestamp: datetime, data: str) -> str: ...


def _signer(secret: object) -> _Signer:
    try:
        from standardwebhooks import Webhook  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError("a webhook needs: pip install 'end-conversation-tool[webhook]'") from error
    problem = f"secret: expected 'whsec_' and at least {_LEAST_SECRET_BYTES} bytes in base64"
    if not isinstance(secret, str) or not secret.startswith("whsec_"):
        raise InvalidInputError(f"{problem}, got {type(secret).__name__}")
    try:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise InvalidInputError(f"{problem}, got something else") from None
    if len(key) < _LEAST_SECRET_BYTES:
        raise InvalidInputError(f"{problem}, got {len(key)}")
    return Webhook(key)


def _check(field: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidInputError(f"{field}: expected a number from {low} to {high}, got {type(value).__name__}")
