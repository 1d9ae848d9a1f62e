"""A headless Chromium that may not reach the network, and the page of a sweep opened in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import report_sweeps as sweeps
from opened import Opened
from playwright.sync_api import BrowserContext, sync_playwright

from orchestrator import report
from orchestrator.results import AggregatedResult

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

HANGS_AFTER_MS = 240_000
"""Of a browser that hangs, not of a machine that is busy."""


def chromium() -> str:
    """The browser's path. In CI its absence is a failure: a page that nobody looked at is not tested."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found:
        return found
    reason = "no chromium on PATH (Debian: apt-get install chromium)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    executable = chromium()
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=executable, args=FLAGS,
            viewport={"width": 1280, "height": 900}, timeout=HANGS_AFTER_MS,
        )  # fmt: skip
        context.set_default_timeout(HANGS_AFTER_MS)
        yield context
        context.close()


@pytest.fixture
def open_report(browser: BrowserContext, tmp_path: Path) -> Iterator[Callable[[list[AggregatedResult]], Opened]]:
    """Write results, make the page by the command, open it."""
    opened = Opened(browser.new_page())
    opened.page.on("console", lambda message: opened.complaints.append(f"{message.type}: {message.text}"))
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.on("request", lambda request: opened.requests.append(request.url))

    def open_(results: list[AggregatedResult]) -> Opened:
        page = tmp_path / "report.html"
        assert report.main([str(sweeps.write(results, tmp_path)), "--out", str(page)]) == 0
        opened.page.goto(page.as_uri())
        return opened

    yield open_
    opened.page.close()
