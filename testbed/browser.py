"""Opens a report in headless Chromium and reads what it shows."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, Playwright

CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

TIMEOUT_MS = 240_000
"""Ends a browser that hangs; a slow machine stays well below it."""


def chromium_path() -> str | None:
    """The path of Chromium or Chrome, or None if PATH has neither."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def launch(playwright: Playwright, profile: Path, executable: str) -> BrowserContext:
    """Start Chromium with a new profile in the folder `profile`."""
    context = playwright.chromium.launch_persistent_context(
        profile, executable_path=executable, args=CHROMIUM_FLAGS,
        viewport={"width": 1280, "height": 900}, timeout=TIMEOUT_MS,
    )  # fmt: skip
    context.set_default_timeout(TIMEOUT_MS)
    return context


@dataclass
class OpenReport:
    """An open page with its console messages and its requests."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    """Console messages and uncaught errors."""
    requests: list[str] = field(default_factory=list)
    """URLs that the page requested."""

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def marks(self, chart: str) -> int:
        """Scroll to a chart and count its marks."""
        plot = self.page.locator(f'[data-chart="{chart}"]')
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()
        return plot.locator(".points path.point").count()

    def models(self) -> list[str]:
        """The model of each visible row, in the table's order."""
        return self.page.locator("#cells tbody tr:visible th").all_inner_texts()

    def column(self, title: str) -> list[str]:
        """A column's texts in the visible rows."""
        titles = [text.split("\n")[0].strip("\xa0 ") for text in self.page.locator("#cells thead th").all_inner_texts()]
        at = next(i for i, text in enumerate(titles) if text.startswith(title))
        return self.page.locator(f"#cells tbody tr:visible > :nth-child({at + 1})").all_inner_texts()
