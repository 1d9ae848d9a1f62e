"""The page's HTML, without a browser."""

import re

import testbed.report_sweeps as sweeps
from orchestrator.report import page
from orchestrator.results.columns import table
from orchestrator.results.rows import AggregatedResult


def test_one_cell_is_singular_and_more_are_plural() -> None:
    def counts(results: list[AggregatedResult]) -> str:
        (line,) = re.findall(r'<p class="counts">(.*?)</p>', _html(results), re.DOTALL)
        return " ".join(re.sub("<[^>]*>", "", line).split())

    one = sweeps.gpu_sweep(models=1)[0]
    assert counts([one]) == "1 cell: 1 ok. Energy measured for 1 of 1 cell."
    assert counts(sweeps.cpu_sweep()) == "8 cells: 8 ok. No energy was measured."
    assert not re.search(r"\b1 cells\b", _text(_html([one])))


def test_a_reason_that_the_notes_do_not_list_is_under_its_chart() -> None:
    """The notes list the reasons of the table's columns; model memory is in a chart only."""
    without_memory = [_without_model_memory(result) for result in sweeps.cpu_sweep()[:1]]
    failures = [
        sweeps.failed(model="m", precision="fp16", batch=batch, message=f"error {number}")
        for number in range(7)
        for batch in (1, 2)
    ]
    html = _html([*failures, *without_memory])
    (notes,) = re.findall(r'<ol id="reasons">(.*?)</ol>', html, re.DOTALL)
    (memory,) = re.findall(r'<section class="chart" id="memory".*?</section>', html, re.DOTALL)
    assert "the worker recorded neither a value nor a reason" not in notes
    assert "1 cell not plotted: the worker recorded neither a value nor a reason" in memory
    listed = [f"oom: OutOfMemoryError: error {number}" for number in range(7)]
    assert [reason for reason in listed if reason in memory] == listed[:5]
    assert all(reason in notes for reason in listed)
    assert "2 more reasons: see “Why a value is missing” below the table" in memory


def _without_model_memory(result: AggregatedResult) -> AggregatedResult:
    metrics = result.compute_metrics.model_copy(update={"model_memory_mb": None})
    return result.model_copy(update={"compute_metrics": metrics})


def _html(results: list[AggregatedResult]) -> str:
    return page.render(table(AggregatedResult, results).to_pylist())


def _text(html: str) -> str:
    body = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL)
    return re.sub("<[^>]*>", "", body)
