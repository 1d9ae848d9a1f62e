"""What a reader sees: the page is opened in a real browser, clicked, typed into and printed."""

import json
import struct
import zlib
from collections.abc import Callable

import report_sweeps as sweeps
from opened import Opened

from orchestrator.results import AggregatedResult

Open = Callable[[list[AggregatedResult]], Opened]
DASH = "\u2013"
ALL_CHARTS = ("cost", "latency-ttft", "latency-itl", "latency-tpot", "memory", "flops")


def test_every_chart_draws_one_mark_a_measured_cell(open_report: Open) -> None:
    results = sweeps.gpu_sweep()
    measured = sum(result.status == "ok" for result in results)
    opened = open_report(results)
    percentiles = {"latency-ttft": 3, "latency-itl": 3, "latency-tpot": 3}
    for chart in ("energy", *ALL_CHARTS):
        assert opened.marks(chart) == measured * percentiles.get(chart, 1), chart
    assert opened.page.locator("#cells tbody tr").count() == len(results)
    assert opened.complaints == []
    assert len(opened.requests) == 1, "the page asked for something beside itself"


def test_energy_and_throughput_have_error_bars_both_ways_of_their_mark(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    marks = opened.marks("energy")
    bars = opened.page.locator('[data-chart="energy"] .errorbar')
    assert bars.count() == marks
    x, left, right = opened.page.evaluate(
        """() => {
          const plot = document.querySelector('[data-chart="energy"]');
          const box = (what) => plot.querySelector(what).getBoundingClientRect();
          const mark = box(".points path.point"), bar = box(".errorbar .xerror");
          return [(mark.left + mark.right) / 2, bar.left, bar.right];
        }"""
    )
    assert left < x < right


def test_an_interval_wider_than_its_figure_is_unstable_and_does_not_flatten_the_chart(open_report: Open) -> None:
    opened = open_report([sweeps.noisy(result, 1e6) for result in sweeps.cpu_sweep()])
    assert opened.marks("tradeoff") == 8
    low, high = opened.page.evaluate("document.querySelector('[data-chart=tradeoff]').layout.xaxis.range")
    fastest = max(result.inference_metrics.output_tokens_per_s for result in sweeps.cpu_sweep())
    assert low > -20_000, "no throughput is negative; plotly leaves a margin of a twentieth"
    assert high < 2.5 * fastest
    caption = opened.page.locator("#cells caption").inner_text()
    assert "Peak memory on a CPU is the high-water mark of the process" in caption
    assert all(text.endswith(" unstable") for text in opened.column("Throughput"))
    cell = opened.page.locator("#cells tbody tr").first.locator("td.n").nth(3)
    cell.hover()
    assert "unstable: the interval is wider than the figure; more repeats" in (cell.get_attribute("title") or "")


def test_what_a_run_and_its_meter_know_of_themselves_has_columns_of_its_own(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep(models=1))
    for title, share in (("Within a run", "1.00"), ("Energy meter", "3.00")):
        assert {text for text in opened.column(title) if not text.startswith(DASH)} == {share}
    assert "high-water mark" not in opened.page.locator("#cells caption").inner_text()


def test_the_filling_of_a_mark_tells_its_confidence(open_report: Open) -> None:
    """Looked at in the drawing itself: only `high` is filled, `medium` has a dot, `low` has neither."""
    results = sweeps.gpu_sweep(models=3)
    opened = open_report(results)
    assert opened.marks("flops") == sum(result.status == "ok" for result in results)
    seen = opened.page.evaluate(
        """() => {
          const plot = document.querySelector('[data-chart="flops"]');
          return [...plot.querySelectorAll(".points path.point")].map((mark) => {
            const row = mark.__data__.data;
            const filled = mark.style.fillOpacity !== "0" && mark.style.fill !== "none";
            return [filled, mark.getAttribute("d").split("M").length - 1, row];
          }).map(([filled, strokes, row]) => [filled, strokes, provenance(rows[row].cells[14])]);
        }"""
    )
    looks = {grade: {(filled, strokes > 1) for filled, strokes, how in seen if f"confidence {grade}" in how}
             for grade in ("high", "medium", "low")}  # fmt: skip
    assert looks == {"high": {(True, False)}, "medium": {(False, True)}, "low": {(False, False)}}


def test_the_pareto_front_runs_through_the_cells_that_none_beats(open_report: Open) -> None:
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


def test_a_click_on_a_heading_sorts_and_says_so(open_report: Open) -> None:
    opened = open_report([sweeps.failed(model="first", precision="fp16", batch=1), *sweeps.gpu_sweep()])
    heading = opened.page.locator("#cells thead th", has_text="Throughput")
    for direction, reverse in (("ascending", False), ("descending", True)):
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == direction
        texts = opened.column("Throughput")
        values = [float(text.split(" ")[0].replace(",", "")) for text in texts if not text.startswith(DASH)]
        assert values == sorted(values, reverse=reverse)
        assert [text.startswith(DASH) for text in texts[-3:]] == [False, True, True], (
            "a dash is no figure and stands last either way"
        )
    opened.page.locator("#cells thead th", has_text="Precision").locator("button").press("Enter")
    assert opened.column("Precision") == sorted(opened.column("Precision"))
    assert heading.get_attribute("aria-sort") == "none"


def test_the_filter_narrows_table_and_charts_together(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    assert opened.marks("memory") == 39
    opened.page.locator("#find").fill("LLAMA-2b int4")
    assert opened.shown() == ["llama-2b"] * 4
    assert opened.marks("memory") == 4
    assert opened.page.locator("#shown").inner_text() == "4 of 40 cells"
    assert "4 cells have a mark" in opened.page.locator('[data-drawn="memory"]').inner_text()
    opened.page.locator("#filter").get_by_label("Precision").select_option("fp16")
    assert opened.shown() == []
    assert opened.marks("memory") == 0
    opened.page.locator("#find").fill("")
    assert opened.column("Precision") == ["fp16"] * 8
    assert opened.complaints == []


def test_a_missing_figure_is_a_dash_with_its_reason(open_report: Open) -> None:
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


def test_without_joules_a_sentence_says_why_and_latency_takes_their_place(open_report: Open) -> None:
    opened = open_report(sweeps.cpu_sweep())
    energy = opened.page.locator("#energy")
    assert energy.locator(".plot").count() == 0
    assert "none of the 8 cells" in energy.inner_text()
    assert "8 cells without a mark: no GPU was used" in energy.inner_text()
    assert opened.marks("tradeoff") == 8
    assert "not known, no joules: no GPU was used" in opened.page.locator("#answers").inner_text()


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
    assert box["y"] + box["height"] < 900, "one has to scroll for the answer"


def test_failures_stand_with_their_errors(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    text = opened.page.locator("#failures").inner_text()
    assert "1 of 40 cells did not end ok" in text
    assert "OutOfMemoryError CUDA out of memory. Tried to allocate 24.00 GiB" in text


def test_foreign_text_stays_text(open_report: Open) -> None:
    evil = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    results = sweeps.gpu_sweep(models=1)
    first = results[0]
    settings = json.dumps({"generate": {"act": evil}})
    cell = first.cell.model_copy(update={"model": evil, "settings": settings})
    bad = first.model_copy(update={"cell": cell, "mixed": (evil,)})
    opened = open_report([bad, sweeps.failed(model=evil, precision="fp16", batch=2, message=evil), *results[1:]])
    assert opened.marks("latency-ttft") == 3 * (len(results) - 1), "one cell is out of memory"
    assert opened.shown()[:2] == [evil, evil]
    opened.marks("memory")
    mark = opened.page.locator('[data-chart="memory"] .points path.point').first
    mark.scroll_into_view_if_needed()
    mark.hover(force=True)
    opened.page.locator('[data-chart="memory"] .hoverlayer .hovertext').wait_for()
    assert "owned'</script>" in (opened.page.locator('[data-chart="memory"] .hoverlayer').text_content() or "")
    assert opened.page.title().startswith("nightly precisions")
    assert opened.page.locator("img").count() == 0
    assert opened.complaints == []


def test_paper_shows_every_chart_and_row_in_ink_on_white(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    opened.page.emulate_media(media="print", color_scheme="dark")
    opened.page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 7 * 2")
    assert opened.page.locator("form").is_hidden()
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert _colours(opened.page.screenshot(clip={"x": 0, "y": 0, "width": 1280, "height": 900})) > 8
    opened.page.emulate_media(media=None, color_scheme=None)


def test_a_large_sweep_lists_its_first_rows_until_it_is_asked_for_all(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep(models=3, batches=(1, 2, 4, 8, 16, 32), workloads=3))
    rows = opened.page.locator("#cells tbody tr:visible")
    assert rows.count() == 250
    opened.page.locator("#find").fill("llama-3b")
    assert rows.count() == 90, "the filter looks at every row, listed or not"
    opened.page.locator("#find").fill("")
    opened.page.get_by_role("button", name="List all 270").click()
    assert rows.count() == 270
    assert opened.marks("memory") == 267, "three cells are out of memory"


def test_the_page_follows_a_dark_screen(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    opened.page.emulate_media(color_scheme="dark")
    assert opened.marks("memory") == 39
    back = opened.page.evaluate(
        "getComputedStyle(document.querySelector('[data-chart=memory] .main-svg')).backgroundColor"
    )
    assert max(int(part) for part in back[4:-1].split(",")) < 64
    opened.page.emulate_media(color_scheme=None)


def test_a_narrow_screen_needs_no_sideways_scrolling(open_report: Open) -> None:
    opened = open_report(sweeps.gpu_sweep())
    opened.page.set_viewport_size({"width": 390, "height": 800})
    assert opened.marks("cost") == 39
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    opened.page.set_viewport_size({"width": 1280, "height": 900})


def _colours(png: bytes) -> int:
    """Distinct bytes per scan line, at most: a blank picture has a handful."""
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    return len(set(zlib.decompress(data)))


def test_a_sweep_in_which_all_failed_still_says_so(open_report: Open) -> None:
    opened = open_report([sweeps.failed(model="m", precision="fp16", batch=batch) for batch in (1, 2)])
    assert "No cell has figures" in opened.page.locator("#answers").inner_text()
    assert opened.page.locator(".plot").count() == 0
    assert "none of the 2 cells" in opened.page.locator("#energy").inner_text()
    assert "2 of 2 cells did not end ok" in opened.page.locator("#failures").inner_text()
    assert opened.complaints == []


def test_one_output_token_leaves_end_to_end_latency_to_weigh(open_report: Open) -> None:
    """With one token there is none after the first: no TPOT and no ITL, and the page says why."""
    results = [_one_token(result) for result in sweeps.cpu_sweep()]
    opened = open_report(results)
    assert opened.marks("tradeoff") == len(results)
    assert "E2E against throughput" in opened.page.locator("#tradeoff h2").inner_text()
    assert "8 cells without a mark: one output token" in opened.page.locator("#latency-itl").inner_text()
    assert opened.complaints == []


def _one_token(result: AggregatedResult) -> AggregatedResult:
    assert result.inference_metrics is not None
    metrics = result.inference_metrics.model_copy(update={"tpot": None, "itl": None})
    cell = result.cell.model_copy(update={"output_tokens": 1})
    return result.model_copy(update={"inference_metrics": metrics, "cell": cell})
