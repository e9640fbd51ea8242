"""A sink that posts each event to a URL: signed, tried again, in a thread of its own, never in the way of a turn.

The body is the event as JSON. Whoever receives it checks the header ``X-End-Conversation-Signature``:
``t=<seconds since 1970>,v1=<hex HMAC-SHA256 of "<t>.<body>" under the shared secret>``; see ``verify_signature``.
Events that find the queue full, and those that cannot be delivered, are counted and lost.
"""

from __future__ import annotations

import hmac
import json
import logging
import time
from collections.abc import Callable
from queue import Empty, Full, Queue
from threading import Event, Thread
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.operations.telemetry import TelemetryEvent

__all__ = ["SIGNATURE_HEADER", "WebhookSink", "sign", "verify_signature"]

_log = logging.getLogger(__name__)

SIGNATURE_HEADER = "X-End-Conversation-Signature"
_RETRIED = {408, 425, 429}
_MAX_PAUSE_SECONDS = 30.0
_LEAST_SECRET_CHARS = 16


class WebhookSink:
    """Posts events to a URL. Close it when done, or what waits is lost with the process.

    Args:
        url: An ``http://`` or ``https://`` URL.
        secret: At least 16 characters, shared with whoever receives the events.
        timeout: Seconds for one attempt.
        attempts: Attempts for each event, 1 to 10; pauses of 0.5, 1, 2, ... seconds lie between them.
        queue_size: Most events that wait.
        pause: First pause, in seconds.

    Attributes:
        delivered: Events that were taken by the receiver.
        lost: Events that found the queue full, were refused, or could not be delivered.

    Raises:
        InvalidInputError: An argument is not usable.
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
        if not isinstance(secret, str) or len(secret) < _LEAST_SECRET_CHARS:
            raise InvalidInputError(f"secret: expected a str of at least {_LEAST_SECRET_CHARS} characters")
        _check("timeout", timeout, 0.01, 60)
        _check("attempts", attempts, 1, 10)
        _check("queue_size", queue_size, 1, 1_000_000)
        _check("pause", pause, 0, _MAX_PAUSE_SECONDS)
        self._url, self._secret, self._timeout = url, secret.encode(), timeout
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
        body = json.dumps(event.as_dict()).encode()
        pause = self._pause
        for attempt in range(self._attempts):
            if attempt and self._stopped.wait(pause):
                return False
            if attempt:
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)
            try:
                self._post(body)
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

    def _post(self, body: bytes) -> None:
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: sign(body, self._secret, int(time.time()))}
        request = Request(self._url, data=body, headers=headers, method="POST")  # noqa: S310 - the scheme is checked
        with urlopen(request, timeout=self._timeout) as answer:  # noqa: S310 - as above
            answer.read(1)


def sign(body: bytes, secret: bytes, at: int) -> str:
    """Return the signature of a body, as the header holds it.

    Args:
        body: What is sent.
        secret: The shared secret.
        at: Seconds since 1970.
    """
    return f"t={at},v1={hmac.digest(secret, b'%d.' % at + body, 'sha256').hex()}"


def verify_signature(
    body: bytes, header: str, secret: bytes, *, max_age: float = 300.0, now: Callable[[], float] = time.time
) -> bool:
    """Whether a body was signed with the secret, at most ``max_age`` seconds ago: for whoever receives the events."""
    try:
        at = int(dict(part.split("=", 1) for part in header.split(","))["t"])
    except (KeyError, ValueError):
        return False
    return hmac.compare_digest(sign(body, secret, at).encode(), header.encode()) and abs(now() - at) <= max_age


def _check(field: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidInputError(f"{field}: expected a number from {low} to {high}, got {type(value).__name__}")
