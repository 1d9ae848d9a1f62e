"""How long a report takes to make, and to open in Chromium: the quick start's 8 cells, and 5,000.

Opening is the time from asking for the file until the first frame after it is loaded, with the answers and the table on
the page; a chart is drawn when it is scrolled to, and filtering redraws those that are. Needs a `chromium` on PATH.

    python benchmarks/report_open.py
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "orchestrator" / "report"))
import report_sweeps as sweeps
from conftest import FLAGS, chromium

from orchestrator import report

ROUNDS = 5


def main() -> None:
    """Print for each sweep: rows, page size, seconds to make and for each step in the browser, complaints."""
    big = sweeps.gpu_sweep(models=25, batches=tuple(2**i for i in range(10)), workloads=4)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(f"{folder}/p", executable_path=chromium(), args=FLAGS)
        for name, results in (("quick start", sweeps.cpu_sweep()), ("5,000 cells", big)):
            page = Path(folder) / "report.html"
            sweeps.write(results, Path(folder))
            start = time.perf_counter()
            assert report.main([folder, "--out", str(page)]) == 0
            made_s = time.perf_counter() - start
            rounds = [opened(browser, page) for _ in range(ROUNDS)]
            print(f"{name}: {len(results)} rows, {page.stat().st_size / 1e6:.1f} MB, made in {made_s:.2f} s")
            for what in ("open", "draw a chart", "filter"):
                times = [seconds[what] for seconds, _ in rounds]
                print(f"  {what}: median {statistics.median(times):.2f} s, slowest of {ROUNDS} {max(times):.2f} s")
            print(f"  complaints in the console: {sum(said for _, said in rounds)}")
        browser.close()


def opened(browser: BrowserContext, page: Path) -> tuple[dict[str, float], int]:
    """Seconds of each step, and how often the console complained."""
    tab = browser.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    times = {
        "open": timed(tab, lambda: tab.goto(page.as_uri())),
        "draw a chart": timed(tab, lambda: tab.evaluate("draw(document.querySelector('[data-chart=memory]'))")),
        "filter": timed(tab, lambda: tab.locator("#find").fill("bf16")),
    }
    assert tab.locator("[data-chart=memory] .points path.point").count() > 0
    tab.close()
    return times, len(said)


def timed(tab: Page, step: Callable[[], object]) -> float:
    """Seconds that `step` takes, until the frame after it."""
    start = time.perf_counter()
    step()
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
