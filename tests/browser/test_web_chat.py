"""The web chat in real Chromium: one conversation ends, the others go on."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
SCREENSHOT = ROOT / "docs" / "images" / "web-chat.png"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
INSULT = "Write it, you worthless stupid idiot!"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the web chat on a free port, without a key."""
    pytest.importorskip("gradio")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("web") / "log"
    known = {"PATH": os.environ["PATH"], "HOME": str(log.parent), "PYTHONPATH": str(ROOT / "src"), "PORT": str(port)}
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "examples" / "web_chat.py")],
            env=known | {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"},
            stdout=out,
            stderr=out,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            assert process.poll() is None, log.read_text()
            try:
                httpx.get(url, timeout=5).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.5)
        else:
            pytest.fail(log.read_text())
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1150})
        page.goto(address)
        page.wait_for_selector("#panel-3 .say textarea")
        yield page
        browser.close()


ANSWERED = """([panel, before]) => {
    const root = document.querySelector(`#panel-${panel}`);
    const answers = root.querySelectorAll('.bot.message, .message.bot').length;
    const ended = root.querySelector('.prose.statement')?.innerText.includes('ended');
    const box = root.querySelector('.say textarea');
    return ended || (answers > before && !box.disabled && box.value === '');
}"""


def say(page: Any, panel: int, text: str) -> None:
    box = page.locator(f"#panel-{panel} .say textarea")
    before = page.locator(f"#panel-{panel} .bot.message, #panel-{panel} .message.bot").count()
    box.fill(text)
    box.press("Enter")
    for _ in range(2):  # twice: the box is closed and opened again while the answer comes
        page.wait_for_function(ANSWERED, arg=[panel, before], timeout=60_000)
        page.wait_for_timeout(700)


def test_one_conversation_ends_and_the_others_go_on(page: Any) -> None:
    say(page, 2, "Hello there!")
    for _ in range(6):
        if page.locator("#panel-1 .prose.statement").is_visible():
            break
        say(page, 1, INSULT)
    statement = page.locator("#panel-1 .prose.statement")
    statement.wait_for(timeout=30_000)
    assert "This chat was ended because abusive messages went on after a warning." in statement.inner_text()
    assert page.locator("#panel-1 .say textarea").is_disabled()
    for choice in ("New chat", "Edit and retry", "Send feedback"):
        assert page.locator("#panel-1").get_by_role("button", name=choice).is_visible()
    assert page.locator("#panel-2 .say textarea").is_enabled()
    say(page, 2, "Are you still there?")
    say(page, 3, "And here?")

    page.locator("#panel-1 .comment textarea").fill("I was only joking.")
    page.locator("#panel-1").get_by_role("button", name="Send feedback").click()
    page.locator("#panel-1 .prose.thanks").get_by_text("Thank you").wait_for(timeout=30_000)
    SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SCREENSHOT))

    page.locator("#panel-1 .edited textarea").fill("Sorry. Could you help me with a letter?")
    page.locator("#panel-1").get_by_role("button", name="Edit and retry").click()
    page.wait_for_function("() => !document.querySelector('#panel-1 .say textarea').disabled", timeout=30_000)
    assert not page.locator("#panel-1 .prose.statement").is_visible()
    say(page, 1, "Thank you!")


def test_a_new_chat_starts_at_once(page: Any) -> None:
    for _ in range(6):
        if page.locator("#panel-3 .prose.statement").is_visible():
            break
        say(page, 3, INSULT)
    page.locator("#panel-3 .prose.statement").wait_for(timeout=30_000)
    page.locator("#panel-3").get_by_role("button", name="New chat").click()
    page.wait_for_function("() => !document.querySelector('#panel-3 .say textarea').disabled", timeout=30_000)
    assert page.locator("#panel-3 .bot.message, #panel-3 .message.bot").count() == 0
    say(page, 3, "Hello again!")
