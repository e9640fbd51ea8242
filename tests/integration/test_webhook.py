"""The webhook: signed, tried again, bounded, and never in the way."""

from __future__ import annotations

import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.operations.telemetry import TelemetryEvent
from end_conversation_tool.operations.webhook import WebhookSink

SECRET = f"whsec_{b64encode(bytes(range(32))).decode()}"
EVENT = TelemetryEvent("end_conversation.sealed", datetime(2026, 1, 1, tzinfo=UTC), "t", {"outcome": "sealed"})


class Receiver:
    """A server that answers as it is told to, and remembers what it was sent."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.delay = 0.0
        self.received: list[tuple[bytes, dict[str, str]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((body, dict(self.headers)))
                time.sleep(receiver.delay)
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def sink(url: str, **options: Any) -> WebhookSink:
    return WebhookSink(url, **{"secret": SECRET, "pause": 0.01, "timeout": 2.0, **options})


async def test_an_event_arrives_signed(receiver: Receiver) -> None:
    hook = sink(receiver.url)
    hook.emit(EVENT)
    await hook.aemit(EVENT)
    hook.close()
    assert (hook.delivered, hook.lost) == (2, 0)
    body, headers = receiver.received[0]
    given = Webhook(SECRET).verify(body, headers)
    assert given == {
        "type": "end_conversation.sealed",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "data": {"thread_id": "t", "outcome": "sealed"},
    }
    another = f"whsec_{b64encode(bytes(32)).decode()}"
    for changed, secret in ((body + b" ", SECRET), (body, another)):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(changed, headers)


def test_a_delivery_that_is_repeated_has_the_same_id_and_two_events_never_have(receiver: Receiver) -> None:
    receiver.answers = [500]
    hook = sink(receiver.url)
    hook.emit(EVENT)
    hook.emit(TelemetryEvent(EVENT.name, EVENT.at, EVENT.thread_id, EVENT.fields))
    hook.close()
    names = [{name.lower(): value for name, value in headers.items()}["webhook-id"] for _, headers in receiver.received]
    assert names[:2] == [EVENT.id, EVENT.id]
    assert len(names) == 3
    assert names[2] != EVENT.id


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "standardwebhooks", None)
    with pytest.raises(ImportError, match=r"end-conversation-tool\[webhook\]"):
        sink("http://127.0.0.1:9/hook")


@pytest.mark.parametrize("code", [500, 503, 429])
def test_what_fails_for_a_while_is_tried_again(receiver: Receiver, code: int) -> None:
    receiver.answers = [code, code]
    hook = sink(receiver.url)
    hook.emit(EVENT)
    hook.close()
    assert (hook.delivered, hook.lost, len(receiver.received)) == (1, 0, 3)


def test_what_is_refused_is_not(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.answers = [400]
    hook = sink(receiver.url)
    hook.emit(EVENT)
    hook.close()
    assert (hook.delivered, hook.lost, len(receiver.received)) == (0, 1, 1)
    assert "the webhook answered 400" in caplog.text


def test_attempts_have_an_end(receiver: Receiver) -> None:
    receiver.answers = [500] * 9
    hook = sink(receiver.url, attempts=3)
    hook.emit(EVENT)
    hook.close()
    assert (hook.delivered, hook.lost, len(receiver.received)) == (0, 1, 3)


def test_nobody_there_costs_the_caller_nothing(caplog: pytest.LogCaptureFixture) -> None:
    hook = sink("http://127.0.0.1:9/hook", attempts=2)
    began = time.perf_counter()
    for _ in range(100):
        hook.emit(EVENT)
    assert time.perf_counter() - began < 0.5
    hook.close()
    assert hook.delivered == 0
    assert "could not be reached: URLError" in caplog.text


def test_a_slow_receiver_fills_the_queue_and_not_the_turn(receiver: Receiver) -> None:
    receiver.delay = 0.3
    hook = sink(receiver.url, queue_size=2)
    began = time.perf_counter()
    for _ in range(50):
        hook.emit(EVENT)
    assert time.perf_counter() - began < 0.3
    assert hook.lost >= 47
    hook.close(timeout=0.05)
    hook.emit(EVENT)
    assert hook.lost >= 48
    hook.close()


@pytest.mark.parametrize(
    "bad",
    [
        {"url": "ftp://host/"}, {"url": "nonsense"}, {"url": None}, {"secret": "whsec_c2hvcnQ="}, {"secret": "short"},
        {"secret": "whsec_short!"}, {"secret": None},
        {"timeout": 0}, {"attempts": 0}, {"attempts": 11}, {"queue_size": 0}, {"queue_size": "x"}, {"pause": -1},
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_without_quoting_the_secret(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        sink(**{"url": "http://127.0.0.1:9/", **bad})
    assert "short" not in str(caught.value)
    assert "c2hvcnQ" not in str(caught.value)
