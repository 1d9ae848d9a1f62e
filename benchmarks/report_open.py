"""How long a report takes to make, and to open in Chromium: the quick start's 8 cells, and 5,000.

Opening is the time from asking for the file until the first frame after it is loaded, with the answers, the whole
table and the first chart on the page. Needs a `chromium` on PATH and playwright.

    python benchmarks/report_open.py
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import BrowserContext, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "orchestrator" / "report"))
import report_sweeps as sweeps
from conftest import FLAGS, chromium

from orchestrator import report

ROUNDS = 5


def main() -> None:
    """Print a line per sweep: cells, page size, seconds to make, seconds to open (median and slowest), complaints."""
    big = sweeps.gpu_sweep(models=25, batches=tuple(2**i for i in range(10)), workloads=4)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(f"{folder}/p", executable_path=chromium(), args=FLAGS)
        for name, results in (("quick start", sweeps.cpu_sweep()), ("5,000 cells", big)):
            page = Path(folder) / "report.html"
            sweeps.write(results, Path(folder))
            start = time.perf_counter()
            assert report.main([folder, "--out", str(page)]) == 0
            made_s = time.perf_counter() - start
            times, complaints = zip(*(opened(browser, page) for _ in range(ROUNDS)), strict=True)
            print(
                f"{name}: {len(results)} rows, {page.stat().st_size / 1e6:.1f} MB, made in {made_s:.2f} s, opened in"
                f" {statistics.median(times):.2f} s (slowest of {ROUNDS}: {max(times):.2f} s),"
                f" complaints: {sum(complaints)}"
            )
        browser.close()


def opened(browser: BrowserContext, page: Path) -> tuple[float, int]:
    """Seconds until the first frame after loading, and what the console said."""
    tab = browser.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    start = time.perf_counter()
    tab.goto(page.as_uri())
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
    elapsed_s = time.perf_counter() - start
    assert tab.locator("#cells tbody tr").count() > 0
    tab.close()
    return elapsed_s, len(said)


if __name__ == "__main__":
    main()
