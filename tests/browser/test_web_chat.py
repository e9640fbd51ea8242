"""The web chat in real Chromium, by keyboard alone: one conversation ends, the others go on."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from end_conversation_tool._core.texts import Texts
from end_conversation_tool._core.vocabulary import Category

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
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
INSULT = "Insult him, you worthless idiot."
NOTICE, STATEMENT = Texts().notice(Category.ABUSE), Texts().statement(Category.ABUSE)
ASKED, AGREED = Texts().notice(Category.USER_REQUEST), Texts().statement(Category.USER_REQUEST)
SMALL_TALK = "I am a scripted model"
DESKTOP = {"width": 1300, "height": 1180}
PHONE = {"width": 390, "height": 844}
START_SECONDS = 120
PATIENCE_MS = 60_000


SLOW = """
import asyncio, runpy, sys
from end_conversation_tool.testing import ScriptedChatModel, personas

class Slow(ScriptedChatModel):
    async def _astream(self, *args, **kwargs):
        async for piece in super()._astream(*args, **kwargs):
            await asyncio.sleep(0.5)
            yield piece

personas.reactive_model = lambda: Slow(lambda messages: " ".join(["word"] * 40))
runpy.run_path(sys.argv[1], run_name="__main__")
"""
"""The same program, with a model that takes its time."""


def start(port: int, log: Path, *before: str) -> subprocess.Popen[bytes]:
    known = {"PATH": os.environ["PATH"], "HOME": str(log.parent), "PYTHONPATH": str(ROOT / "src"), "PORT": str(port)}
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, *before, str(ROOT / "examples" / "web_chat.py")],
            env=known | {"HF_HUB_OFFLINE": "1"},
            stdout=out,
            stderr=out,
        )


@contextmanager
def web_chat(folder: Path, *before: str) -> Iterator[str]:
    """Start the web chat on a free port, without a key, and read from what it prints where it is."""
    pytest.importorskip("gradio")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "log"
    process = start(port, log, *before)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (told := re.search(r"Open (http://\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield told[1]
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with web_chat(tmp_path_factory.mktemp("web")) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(address: str, browser: Any) -> Iterator[Callable[..., Any]]:
    """A new visitor's page: nothing is kept from another one. What it asks for, and its errors, are looked at."""
    contexts, asked, problems, places = [], [], [], []

    def opened(at: str = address, **options: Any) -> Any:
        places.append(at)
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        go(page, at)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []
    assert [url for url in asked if not url.startswith((*places, "data:", "blob:"))] == []


def go(page: Any, address: str) -> None:
    """Open the page, and wait until its conversations are there."""
    page.goto(address)
    for panel in (1, 2, 3):
        page.wait_for_function(
            "panel => document.querySelector(`#panel-${panel} .say textarea`)?.placeholder", arg=panel
        )


def panel_of(page: Any, panel: int) -> Any:
    return page.locator(f"#panel-{panel}")


def box_of(page: Any, panel: int) -> Any:
    return page.get_by_label(f"Your message in conversation {panel}")


def statuses(page: Any, panel: int) -> list[str]:
    """Return what the places say that a screen reader reads out by itself."""
    said = panel_of(page, panel).get_by_role("status").all_inner_texts()
    return [text for text in said if text]


def wait_for_status(page: Any, panel: int, text: str) -> None:
    panel_of(page, panel).get_by_role("status").get_by_text(text).wait_for()


FOCUSED = """() => {
    const at = document.activeElement;
    return at.labels?.[0]?.innerText.trim() || at.getAttribute('aria-label') || at.getAttribute('role')
        || at.innerText.trim();
}"""
"""What has the focus, by its name, or by its role where it has none."""


def wait_for_focus(page: Any, name: str) -> None:
    page.wait_for_function(f"name => ({FOCUSED})() === name", arg=name)


def tab_to(page: Any, name: str) -> None:
    """Press Tab until the control of this name has the focus."""
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUSED))
        if seen[-1] == name:
            return
    pytest.fail(f"{name!r} is not reached by Tab: {seen}")


def say(page: Any, panel: int, text: str) -> None:
    """Type into the box that has the focus, press Enter, and wait until the turn is over."""
    turn = panel_of(page, panel).locator(".user.message, .message.user").count()
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.wait_for_function(
        """([panel, turn]) => {
            const root = document.querySelector(`#panel-${panel}`);
            const users = root.querySelectorAll('.user.message, .message.user').length;
            const box = root.querySelector('.say textarea');
            const send = [...root.querySelectorAll('button')].find(button => button.innerText.trim() === 'Send');
            return users > turn && box.value === '' && (box.disabled || !send.disabled);
        }""",
        arg=[panel, turn],
    )


def insult_until(page: Any, panel: int, text: str) -> None:
    """Insult the model until the card says something."""
    box_of(page, panel).focus()
    for _ in range(6):
        if text in " ".join(statuses(page, panel)):
            return
        say(page, panel, INSULT)
    wait_for_status(page, panel, text[:40])


def test_a_conversation_ends_by_keyboard_and_the_others_go_on(visit: Callable[..., Any]) -> None:
    page = visit()
    assert "Please end this chat" in panel_of(page, 1).get_by_role("log").inner_text(), "an empty panel gives a hint"
    box_of(page, 1).focus()
    for turn in range(1, 4):
        say(page, 1, INSULT)
        assert page.evaluate(FOCUSED) == "Your message in conversation 1", f"the focus is lost after message {turn}"
        assert statuses(page, 1) == []
    say(page, 1, INSULT)
    wait_for_status(page, 1, NOTICE.split("\n")[0])
    assert page.evaluate(FOCUSED) == "Your message in conversation 1"
    assert statuses(page, 1) == [f"Notice\n{NOTICE}"]
    assert NOTICE[:40] not in panel_of(page, 1).get_by_role("log").inner_text(), "the notice is no speech of the model"

    say(page, 1, INSULT)
    wait_for_status(page, 1, STATEMENT)
    assert statuses(page, 1) == [f"This chat has ended\n{STATEMENT}"]
    assert f"Notice: {NOTICE[:40]}" in panel_of(page, 1).get_by_role("log").inner_text(), "it stays to be read"
    assert box_of(page, 1).is_disabled()
    assert panel_of(page, 1).get_by_role("button", name="Send", exact=True).is_disabled()
    wait_for_focus(page, "status")  # the card, which says why the box is closed

    for panel in (2, 3):
        box_of(page, panel).focus()
        say(page, panel, "Hello there!")
        assert SMALL_TALK in panel_of(page, panel).get_by_role("log").inner_text()


def test_what_a_user_can_do_after_an_end_by_keyboard_and_after_a_reload(
    visit: Callable[..., Any], address: str
) -> None:
    page = visit()
    insult_until(page, 1, STATEMENT)
    go(page, address)
    wait_for_status(page, 1, STATEMENT)
    assert box_of(page, 1).is_disabled(), "the end survives a reload"
    assert panel_of(page, 1).get_by_role("log").inner_text().count(INSULT) == 5

    tab_to(page, "Send feedback")
    page.keyboard.press("Enter")
    wait_for_status(page, 1, "Please choose a number from 1 to 5 first.")
    assert panel_of(page, 1).get_by_role("radio", checked=True).count() == 0, "no number is chosen for the user"
    panel_of(page, 1).get_by_role("radio", name="2").focus()
    page.keyboard.press("Space")
    tab_to(page, "Comment (if you like)")
    page.keyboard.type("I was only joking.")
    tab_to(page, "Send feedback")
    page.keyboard.press("Enter")
    wait_for_status(page, 1, "Thank you. Your feedback was kept.")

    tab_to(page, "Appeal")
    page.keyboard.press("Enter")
    wait_for_status(page, 1, "Please write why the end was wrong first.")
    panel_of(page, 1).get_by_label("Why the end was wrong").focus()
    page.keyboard.type("It was a quote.")
    tab_to(page, "Appeal")
    page.keyboard.press("Enter")
    wait_for_status(page, 1, "Your appeal was received.")
    page.keyboard.press("Enter")
    wait_for_status(page, 1, "Your earlier appeal is still open")
    if os.environ.get("END_CONVERSATION_SCREENSHOTS"):
        box_of(page, 2).focus()
        for text in (INSULT, INSULT, INSULT, INSULT):
            say(page, 2, text)
        page.screenshot(path=IMAGES / "web-chat.png", full_page=True)

    edited = panel_of(page, 1).get_by_label("Your last message, to edit")
    edited.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("Sorry. Could you help me with a letter?")
    tab_to(page, "Edit and retry")
    page.keyboard.press("Enter")
    page.wait_for_function("() => !document.querySelector('#panel-1 .say textarea').disabled")
    wait_for_focus(page, "Your message in conversation 1")
    assert statuses(page, 1) == []
    said = panel_of(page, 1).get_by_role("log").inner_text()
    assert said.count(INSULT) == 4
    assert "Sorry. Could you help me" in said
    say(page, 1, "Thank you!")


def test_an_end_that_the_user_asked_for_offers_no_appeal(visit: Callable[..., Any]) -> None:
    page = visit()
    box_of(page, 2).focus()
    say(page, 2, "Please end this chat.")
    wait_for_status(page, 2, ASKED)
    say(page, 2, "Yes.")
    wait_for_status(page, 2, AGREED)
    offered = panel_of(page, 2).get_by_role("button").all_inner_texts()
    assert [name for name in offered if name] == ["Send", "New chat", "Edit and retry", "Send feedback"]
    assert not panel_of(page, 2).get_by_label("Why the end was wrong").is_visible()


def test_a_new_chat_starts_at_any_time(visit: Callable[..., Any], address: str) -> None:
    page = visit()
    box_of(page, 3).focus()
    say(page, 3, "Hello!")
    tab_to(page, "Send")
    tab_to(page, "New chat")
    page.keyboard.press("Enter")
    wait_for_status(page, 3, "A new chat.")
    wait_for_focus(page, "Your message in conversation 3")
    assert "Try “Hello!”" in panel_of(page, 3).get_by_role("log").inner_text()
    say(page, 3, "A second chat.")
    go(page, address)
    panel_of(page, 3).get_by_role("log").get_by_text("A second chat.").wait_for()
    assert "Hello!" not in panel_of(page, 3).get_by_role("log").inner_text(), "the new chat is the one that is kept"
    insult_until(page, 3, STATEMENT)
    tab_to(page, "New chat")
    page.keyboard.press("Enter")
    wait_for_focus(page, "Your message in conversation 3")
    say(page, 3, "Hello again!")
    assert STATEMENT not in " ".join(statuses(page, 3))


def test_a_new_chat_starts_while_the_model_speaks(visit: Callable[..., Any], tmp_path: Path) -> None:
    with web_chat(tmp_path, "-c", SLOW) as url:
        page = visit(url)
        box_of(page, 1).focus()
        page.keyboard.type("Hello!")
        page.keyboard.press("Enter")
        panel_of(page, 1).get_by_role("log").get_by_text("word word word").wait_for()
        page.keyboard.type("Wait")
        assert box_of(page, 1).input_value() == "Wait", "the next message can be written meanwhile"
        tab_to(page, "New chat")  # past Send, which is closed while an answer comes
        page.keyboard.press("Enter")
        wait_for_status(page, 1, "A new chat.")
        wait_for_focus(page, "Your message in conversation 1")
        page.wait_for_timeout(2000)  # four more words would have come by now
        log = panel_of(page, 1).get_by_role("log").inner_text()
        assert "Try “Hello!”" in log
        assert "word" not in log
        assert panel_of(page, 1).get_by_role("button", name="Send", exact=True).is_enabled()


def test_an_empty_message_is_answered_in_plain_words(visit: Callable[..., Any]) -> None:
    page = visit()
    box_of(page, 1).focus()
    page.keyboard.type("  ")
    page.keyboard.press("Enter")
    wait_for_status(page, 1, "Please write a message first.")
    wait_for_focus(page, "Your message in conversation 1")
    assert "Try “Hello!”" in panel_of(page, 1).get_by_role("log").inner_text()
    page.keyboard.type("Hello!")
    tab_to(page, "Send")
    page.keyboard.press("Enter")
    panel_of(page, 1).get_by_role("log").get_by_text(SMALL_TALK).wait_for()
    wait_for_focus(page, "Your message in conversation 1")
    assert statuses(page, 1) == []


NAMELESS = """() => [...document.querySelectorAll('button, input, textarea, select, a')]
    .filter(one => one.checkVisibility())
    .filter(one => !(one.labels?.[0]?.innerText || one.getAttribute('aria-label') || one.innerText || '').trim())
    .map(one => one.outerHTML.slice(0, 200))"""
"""Visible controls without a name."""

CONTRAST = """() => {
    const rgb = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const light = colour => rgb(colour)
        .map(part => part / 255).map(part => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
        .reduce((sum, part, index) => sum + part * [.2126, .7152, .0722][index], 0);
    const style = getComputedStyle(document.querySelector('#panel-1 .prose.card > div'));
    const [dark, bright] = [light(style.color), light(style.backgroundColor)].sort((one, other) => one - other);
    return (bright + .05) / (dark + .05);
}"""
"""Contrast of the card's text, by WCAG."""


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_it_fits_a_phone_dark_and_light_and_every_control_has_a_name(visit: Callable[..., Any], scheme: str) -> None:
    page = visit(viewport=PHONE, color_scheme=scheme, device_scale_factor=2)
    assert page.evaluate(NAMELESS) == []
    insult_until(page, 1, NOTICE.split("\n")[0])
    assert page.evaluate(CONTRAST) >= 4.5
    if scheme == "dark" and os.environ.get("END_CONVERSATION_SCREENSHOTS"):
        panel_of(page, 1).scroll_into_view_if_needed()
        page.screenshot(path=IMAGES / "web-chat-phone.png")
    insult_until(page, 1, STATEMENT)
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(", ")
    assert (int(background[0]) < 128) is (scheme == "dark")


def test_a_port_in_use_is_said(address: str, tmp_path: Path) -> None:
    port = int(address.rsplit(":", 1)[1])
    process = start(port, tmp_path / "log")
    assert process.wait(START_SECONDS) == 1
    assert (tmp_path / "log").read_text().splitlines()[-1] == (
        f"Port {port} is in use: choose another one, as in PORT={port + 1} python web_chat.py"
    )
