"""The report page in real Chromium: its plots are drawn, and nothing is asked for from elsewhere."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from end_conversation_tool.operations.report import build_report
from end_conversation_tool.operations.report_html import report_page
from end_conversation_tool.registry import InMemorySealRegistry
from support.week import START, simulate

pytestmark = pytest.mark.browser

SCREENSHOT = Path(__file__).parents[2] / "docs" / "images" / "report.png"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def test_the_page_is_drawn_and_loads_nothing(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    registry = InMemorySealRegistry()
    simulate(registry, 5_000)
    report = build_report(registry, START, START + timedelta(days=7))
    path = tmp_path / "report.html"
    path.write_text(report_page(report), encoding="utf-8")
    requests, problems = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(path.as_uri())
        assert page.locator(".plots svg").count() == 6
        assert page.locator(".plots rect").count() > 50
        cells = page.locator("tbody tr").first.locator("td").all_inner_texts()
        assert cells[:2] == ["threads", "5,000"]
        shown = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert shown, "the page is wider than the window"
        whole = "document.querySelector('.scroll').scrollWidth <= document.querySelector('.scroll').clientWidth"
        assert page.evaluate(whole), "ten columns do not fit"
        fits = """[...document.querySelectorAll('.plots svg')].every(
            plot => plot.getBoundingClientRect().right <= plot.parentElement.getBoundingClientRect().right + 1)"""
        assert page.evaluate(fits), "a plot is wider than its place"
        if os.environ.get("END_CONVERSATION_SCREENSHOTS"):
            page.screenshot(path=SCREENSHOT, full_page=True)
        browser.close()
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
