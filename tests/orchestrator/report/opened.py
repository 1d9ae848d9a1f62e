"""A report as the browser has it: what its reader would see, and what it complained of."""

from dataclasses import dataclass, field

from playwright.sync_api import Page


@dataclass
class Opened:
    """A page, with everything that it complained of or asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def marks(self, chart: str) -> int:
        """Marks drawn in a chart, once it has been scrolled to."""
        plot = self.page.locator(f'[data-chart="{chart}"]')
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()
        return plot.locator(".points path.point").count()

    def shown(self) -> list[str]:
        """First cells of the table's rows that are on the screen, in their order."""
        return self.page.locator("#cells tbody tr:visible th").all_inner_texts()

    def column(self, title: str) -> list[str]:
        """A column's texts over the visible rows."""
        titles = [text.split("\n")[0].strip("\xa0 ") for text in self.page.locator("#cells thead th").all_inner_texts()]
        at = next(i for i, text in enumerate(titles) if text.startswith(title))
        return self.page.locator(f"#cells tbody tr:visible > :nth-child({at + 1})").all_inner_texts()
