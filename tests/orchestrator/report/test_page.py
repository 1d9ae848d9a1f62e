"""The page as its reader sees it: opened in a real browser, clicked, typed into and printed."""

import json
import struct
import zlib
from collections.abc import Callable

import testbed.report_sweeps as sweeps
from orchestrator.results.rows import AggregatedResult
from testbed.browser import OpenReport

Open = Callable[[list[AggregatedResult]], OpenReport]
DASH = "\u2013"
ALL_CHARTS = ("cost", "latency-ttft", "latency-itl", "latency-tpot", "memory", "flops")


def test_every_chart_draws_one_mark_for_each_measured_cell(open_report: Open) -> None:
    results = sweeps.gpu_sweep()
    measured = sum(result.status == "ok" for result in results)
    opened = open_report(results)
    percentiles = {"latency-ttft": 3, "latency-itl": 3, "latency-tpot": 3}
    for chart in ("energy", *ALL_CHARTS):
        assert opened.marks(chart) == measured * percentiles.get(chart, 1), chart
    assert opened.page.locator("#cells tbody tr").count() == len(results)
    assert opened.complaints == []
    assert len(opened.requests) == 1, "the page requested something besides itself"


def test_energy_and_throughput_have_error_bars_on_both_sides_of_their_mark(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    marks = opened.marks("energy")
    bars = opened.page.locator('[data-chart="energy"] .errorbar')
    assert bars.count() == marks
    x, left, right = opened.page.evaluate(
        """() => {
          const plot = document.querySelector('[data-chart="energy"]');
          const box = (selector) => plot.querySelector(selector).getBoundingClientRect();
          const mark = box(".points path.point"), bar = box(".errorbar .xerror");
          return [(mark.left + mark.right) / 2, bar.left, bar.right];
        }"""
    )
    assert left < x < right


def test_an_interval_wider_than_its_value_is_unstable_and_does_not_flatten_the_chart(open_report: Open) -> None:
    opened = open_report([sweeps.noisy(result, 1e6) for result in sweeps.cpu_sweep()])
    assert opened.marks("tradeoff") == 8
    low, high = opened.page.evaluate("document.querySelector('[data-chart=tradeoff]').layout.xaxis.range")
    fastest = max(result.inference_metrics.output_tokens_per_s for result in sweeps.cpu_sweep())
    assert low > -20_000, "no throughput is negative; plotly adds a margin of a twentieth"
    assert high < 2.5 * fastest
    caption = opened.page.locator("#cells caption").inner_text()
    assert "Peak memory on a CPU is the high-water mark of the process" in caption
    assert all(text.endswith(" unstable") for text in opened.column("Throughput"))
    cell = opened.page.locator("#cells tbody tr").first.locator("td.n").nth(3)
    cell.hover()
    assert "unstable: the interval is wider than the value; more repeats" in (cell.get_attribute("title") or "")


def test_the_uncertainties_within_a_run_and_of_the_meter_have_their_own_columns(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep(models=1))
    for title, share in (("Within a run", "1.00"), ("Energy meter", "3.00")):
        assert {text for text in opened.column(title) if not text.startswith(DASH)} == {share}
    assert "high-water mark" not in opened.page.locator("#cells caption").inner_text()


def test_the_fill_of_a_mark_shows_its_confidence(open_report: Open) -> None:
    """In the SVG itself: only `high` is filled, `medium` has a dot, `low` has neither."""
    results = sweeps.gpu_sweep(models=3)
    opened = open_report(results)
    assert opened.marks("flops") == sum(result.status == "ok" for result in results)
    marks = opened.page.evaluate(
        """() => {
          const plot = document.querySelector('[data-chart="flops"]');
          return [...plot.querySelectorAll(".points path.point")].map((mark) => {
            const row = mark.__data__.data;
            const filled = mark.style.fillOpacity !== "0" && mark.style.fill !== "none";
            return [filled, mark.getAttribute("d").split("M").length - 1, row];
          }).map(([filled, strokes, row]) => [filled, strokes, provenance(rows[row].cells[14])]);
        }"""
    )
    looks = {grade: {(filled, strokes > 1) for filled, strokes, origin in marks if f"confidence {grade}" in origin}
             for grade in ("high", "medium", "low")}  # fmt: skip
    assert looks == {"high": {(True, False)}, "medium": {(False, True)}, "low": {(False, False)}}


def test_the_pareto_front_runs_through_the_cells_that_no_other_beats(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    opened.marks("energy")
    vertices = opened.page.evaluate(
        """() => document.querySelector('[data-chart="energy"]').data
          .find((trace) => trace.name === "Pareto front").customdata"""
    )
    cells = sweeps.gpu_sweep()
    front = [cells[i] for i in vertices if i is not None]
    assert front
    for cell in front:
        assert not any(
            other.cell.model == cell.cell.model
            and other.inference_metrics is not None
            and other.inference_metrics.output_tokens_per_s > cell.inference_metrics.output_tokens_per_s
            and other.energy_per_output_token_j < cell.energy_per_output_token_j
            for other in cells
        )


def test_a_click_on_a_heading_sorts_and_sets_aria_sort(open_report: Open) -> None:
    opened = open_report([sweeps.failed(model="first", precision="fp16", batch=1), *sweeps.gpu_sweep()])
    heading = opened.page.locator("#cells thead th", has_text="Throughput")
    for direction, reverse in (("ascending", False), ("descending", True)):
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == direction
        texts = opened.column("Throughput")
        values = [float(text.split(" ")[0].replace(",", "")) for text in texts if not text.startswith(DASH)]
        assert values == sorted(values, reverse=reverse)
        assert [text.startswith(DASH) for text in texts[-3:]] == [False, True, True], (
            "a missing value sorts last in both directions"
        )
    opened.page.locator("#cells thead th", has_text="Precision").locator("button").press("Enter")
    assert opened.column("Precision") == sorted(opened.column("Precision"))
    assert heading.get_attribute("aria-sort") == "none"


def test_the_filter_applies_to_the_table_and_the_charts(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    assert opened.marks("memory") == 39
    opened.page.locator("#find").fill("LLAMA-2b int4")
    assert opened.models() == ["llama-2b"] * 4
    assert opened.marks("memory") == 4
    assert opened.page.locator("#matching").inner_text() == "4 of 40 cells"
    assert "4 cells plotted." in opened.page.locator('[data-drawn="memory"]').inner_text()
    opened.page.locator("#filter").get_by_label("Precision").select_option("fp16")
    assert opened.models() == []
    assert opened.marks("memory") == 0
    opened.page.locator("#find").fill("")
    assert opened.column("Precision") == ["fp16"] * 8
    assert opened.complaints == []


def test_a_missing_value_is_a_dash_with_its_reason(open_report: Open) -> None:
    opened = open_report(sweeps.cpu_sweep())
    cells = opened.page.locator("#cells tbody td.none")
    assert cells.count() == 16, "no energy and no MFU in each of 8 cells"
    assert set(cells.all_inner_texts()) == {f"{DASH}1", f"{DASH}2"}
    cells.first.hover()
    assert cells.first.get_attribute("title") == "no GPU was used"
    assert opened.page.locator("#reasons li").all_inner_texts() == [
        "no GPU was used",
        "no peak is known for this processor",
    ]
    empty = opened.page.evaluate(
        "[...document.querySelectorAll('#cells tbody td')].filter((c) => !c.innerText.trim()).length"
    )
    assert empty == 0
    assert not [text for text in opened.column("GPU energy") if text.startswith("0")]


def test_without_energy_the_page_gives_the_reason_and_plots_latency_instead(open_report: Open) -> None:
    opened = open_report(sweeps.cpu_sweep())
    energy = opened.page.locator("#energy")
    assert energy.locator(".plot").count() == 0
    assert "No chart: no cell has the values that it needs" in energy.inner_text()
    assert "8 cells not plotted: no GPU was used" in energy.inner_text()
    assert opened.marks("tradeoff") == 8
    assert "unknown, no energy: no GPU was used" in opened.page.locator("#answers").inner_text()


def test_the_first_screen_names_fastest_and_cheapest(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    answers = opened.page.locator(".answer").first
    best = max(
        (r for r in sweeps.gpu_sweep() if r.cell.model == "llama-1b"),
        key=lambda r: r.inference_metrics.output_tokens_per_s,
    )
    assert f"Fastest: {best.cell.precision} at batch {best.cell.batch_size}" in answers.inner_text()
    assert "Cheapest: int4-bnb at batch 64" in answers.inner_text()
    box = answers.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 900, "the answer is not on the first screen"


def test_failures_are_listed_with_their_errors(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    text = opened.page.locator("#failures").inner_text()
    assert "1 of 40 cells did not end ok" in text
    assert "OutOfMemoryError CUDA out of memory. Tried to allocate 24.00 GiB" in text


def test_text_from_the_results_is_never_html_or_script(open_report: Open) -> None:
    evil = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    results = sweeps.gpu_sweep(models=1)
    first = results[0]
    settings = json.dumps({"generate": {"act": evil}})
    cell = first.cell.model_copy(update={"model": evil, "settings": settings})
    bad = first.model_copy(update={"cell": cell, "mixed": (evil,)})
    opened = open_report([bad, sweeps.failed(model=evil, precision="fp16", batch=2, message=evil), *results[1:]])
    assert opened.marks("latency-ttft") == 3 * (len(results) - 1), "one cell is out of memory"
    assert opened.models()[:2] == [evil, evil]
    opened.marks("memory")
    mark = opened.page.locator('[data-chart="memory"] .points path.point').first
    mark.scroll_into_view_if_needed()
    mark.hover(force=True)
    opened.page.locator('[data-chart="memory"] .hoverlayer .hovertext').wait_for()
    assert "owned'</script>" in (opened.page.locator('[data-chart="memory"] .hoverlayer').text_content() or "")
    assert opened.page.title().startswith("nightly precisions")
    assert opened.page.locator("img").count() == 0
    assert opened.complaints == []


def test_print_shows_every_chart_and_row_on_white(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    opened.page.emulate_media(media="print", color_scheme="dark")
    opened.page.locator(".plot .main-svg").nth(7 * 2 - 1).wait_for(state="attached")
    assert opened.page.locator("form").is_hidden()
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert _colours(opened.page.screenshot(clip={"x": 0, "y": 0, "width": 1280, "height": 900})) > 8
    opened.page.emulate_media(media=None, color_scheme=None)


def test_a_large_sweep_lists_its_first_rows_until_list_all_is_clicked(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep(models=3, batches=(1, 2, 4, 8, 16, 32), workloads=3))
    rows = opened.page.locator("#cells tbody tr:visible")
    assert rows.count() == 250
    opened.page.locator("#find").fill("llama-3b")
    assert rows.count() == 90, "the filter applies to every row, listed or not"
    opened.page.locator("#find").fill("")
    opened.page.get_by_role("button", name="List all 270").click()
    assert rows.count() == 270
    assert opened.marks("memory") == 267, "three cells are out of memory"


def test_the_page_follows_a_dark_colour_scheme(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    opened.page.emulate_media(color_scheme="dark")
    assert opened.marks("memory") == 39
    background = opened.page.evaluate(
        "getComputedStyle(document.querySelector('[data-chart=memory] .main-svg')).backgroundColor"
    )
    assert max(int(part) for part in background[4:-1].split(",")) < 64
    opened.page.emulate_media(color_scheme=None)


def test_a_narrow_screen_needs_no_sideways_scrolling(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    opened.page.set_viewport_size({"width": 390, "height": 800})
    assert opened.marks("cost") == 39
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    opened.page.set_viewport_size({"width": 1280, "height": 900})


def _colours(png: bytes) -> int:
    """The number of distinct bytes in the picture's data: a blank picture has a handful."""
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    return len(set(zlib.decompress(data)))


def test_a_sweep_without_any_ok_cell_still_has_a_page(open_report: Open) -> None:
    opened = open_report([sweeps.failed(model="m", precision="fp16", batch=batch) for batch in (1, 2)])
    assert "No cell has results" in opened.page.locator("#answers").inner_text()
    assert opened.page.locator(".plot").count() == 0
    energy = opened.page.locator("#energy").inner_text()
    assert "No chart: no cell has the values that it needs" in energy
    assert "2 cells not plotted: oom: OutOfMemoryError" in energy
    assert "2 of 2 cells did not end ok" in opened.page.locator("#failures").inner_text()
    assert opened.complaints == []


def test_with_one_output_token_the_page_plots_end_to_end_latency(open_report: Open) -> None:
    """No token follows the first, so there is no TPOT and no ITL, and the page gives the reason."""
    results = [_one_token(result) for result in sweeps.cpu_sweep()]
    opened = open_report(results)
    assert opened.marks("tradeoff") == len(results)
    assert "E2E against throughput" in opened.page.locator("#tradeoff h2").inner_text()
    assert "8 cells not plotted: one output token" in opened.page.locator("#latency-itl").inner_text()
    assert opened.complaints == []


def _one_token(result: AggregatedResult) -> AggregatedResult:
    assert result.inference_metrics is not None
    metrics = result.inference_metrics.model_copy(update={"tpot": None, "itl": None})
    cell = result.cell.model_copy(update={"output_tokens": 1})
    return result.model_copy(update={"inference_metrics": metrics, "cell": cell})
