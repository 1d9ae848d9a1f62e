"""The time to make a report and to open it in Chromium: the quick start's 8 cells, and 5,000 cells.

Opening lasts from the request for the file to the first frame after it is loaded, with the answers and the table on the
page. The page draws a chart when it is scrolled to, and redraws the drawn charts when the filter changes. Needs
`chromium` on PATH.

    python benchmarks/report_open.py
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, sync_playwright

from orchestrator.commands import report

sys.path.insert(0, str(Path(__file__).parents[1]))
import testbed.report_sweeps as sweeps
from testbed.browser import OpenReport, chromium_path, launch

ROUNDS = 5


def main() -> None:
    """Print for each sweep: rows, page size, seconds to make the page and for each step in the browser, complaints."""
    executable = chromium_path()
    if executable is None:
        sys.exit("no chromium on PATH (Debian: apt-get install chromium)")
    big = sweeps.gpu_sweep(models=25, batches=tuple(2**i for i in range(10)), workloads=4)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = launch(playwright, Path(folder) / "profile", executable)
        for name, results in (("quick start", sweeps.cpu_sweep()), ("5,000 cells", big)):
            page = Path(folder) / "report.html"
            sweeps.write(results, Path(folder))
            start = time.perf_counter()
            assert report.main([folder, "--out", str(page)]) == 0
            made_s = time.perf_counter() - start
            rounds = [measure_steps(browser, page) for _ in range(ROUNDS)]
            print(f"{name}: {len(results)} rows, {page.stat().st_size / 1e6:.1f} MB, made in {made_s:.2f} s")
            for step in ("open", "draw a chart", "filter"):
                times = [seconds[step] for seconds, _ in rounds]
                print(f"  {step}: median {statistics.median(times):.2f} s, slowest of {ROUNDS} {max(times):.2f} s")
            print(f"  complaints in the console: {sum(complaints for _, complaints in rounds)}")
        browser.close()


def measure_steps(browser: BrowserContext, page: Path) -> tuple[dict[str, float], int]:
    """Seconds of each step, and the number of complaints in the console."""
    opened = OpenReport(browser.new_page())
    tab = opened.page
    times = {
        "open": timed(tab, lambda: tab.goto(page.as_uri())),
        "draw a chart": timed(tab, lambda: tab.evaluate("draw(document.querySelector('[data-chart=memory]'))")),
        "filter": timed(tab, lambda: tab.locator("#find").fill("bf16")),
    }
    assert tab.locator("[data-chart=memory] .points path.point").count() > 0
    tab.close()
    return times, len(opened.complaints)


def timed(tab: Page, step: Callable[[], object]) -> float:
    """Seconds that `step` takes, until the frame after it."""
    start = time.perf_counter()
    step()
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
