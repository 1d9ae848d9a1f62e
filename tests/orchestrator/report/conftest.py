"""A headless Chromium without network access, and a sweep's report opened in it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, sync_playwright

import testbed.report_sweeps as sweeps
from orchestrator.commands import report as report_command
from orchestrator.results.rows import AggregatedResult
from testbed.browser import OpenReport, chromium_path, launch


def chromium() -> str:
    """The browser's path. Without it these tests are skipped, but in CI they fail: the page would be untested."""
    if path := chromium_path():
        return path
    reason = "no chromium on PATH (Debian: apt-get install chromium)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    executable = chromium()
    with sync_playwright() as playwright:
        context = launch(playwright, tmp_path_factory.mktemp("profile"), executable)
        yield context
        context.close()


@pytest.fixture
def open_report(browser: BrowserContext, tmp_path: Path) -> Iterator[Callable[[list[AggregatedResult]], OpenReport]]:
    """Write results, make the page with the command and open it."""
    opened = OpenReport(browser.new_page())

    def open_(results: list[AggregatedResult]) -> OpenReport:
        page = tmp_path / "report.html"
        assert report_command.main([str(sweeps.write(results, tmp_path)), "--out", str(page)]) == 0
        opened.page.goto(page.as_uri())
        return opened

    yield open_
    opened.page.close()
