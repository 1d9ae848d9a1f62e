"""A value is the same number in the closing table, the page, the Parquet file and the SQL of the docs."""

import io
import re
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

import orchestrator
import testbed.report_sweeps as sweeps
from orchestrator import report
from orchestrator.aggregate import aggregate
from orchestrator.report import numbers, page, quantities
from orchestrator.results.rows import AggregatedResult
from workers.engines.fake import fake_result
from workers.records import Cell, EnergyMetrics, GpuState, ModelSpec, Outcome, Run

DOC = (Path(__file__).parents[3] / "docs" / "duckdb.md").read_text(encoding="utf-8")
SPEEDS = {
    "steady": (353.7, 351.2, 355.9),
    "uneven": (320.0, 380.5, 353.6),
    "wild": (9.5, 43.0, 120.1),
    "one repeat": (331.0,),
}
"""Tokens/s of each repeat."""


def cell_of(speeds: tuple[float, ...], batch: int) -> AggregatedResult:
    """A cell whose repeats have windows of different lengths, so that the ratio of totals is another number."""
    cell = Cell(model=ModelSpec(name="m", config={"model_type": "gpt2"}), precision="fp16", batch_size=batch)
    return aggregate(cell, [outcome(cell, i, speed) for i, speed in enumerate(speeds)], sweeps.SWEEP, repeats_asked=3)


def outcome(cell: Cell, repeat: int, speed: float) -> Outcome:
    run = Run(cell=cell, repeat=repeat)
    one = fake_result(run)
    step_s, generations = cell.batch_size / speed, repeat + 1
    tokens = generations * one.inference_metrics.generated_tokens
    joules = 90.0 * tokens / speed
    inference = one.inference_metrics.model_copy(
        update={
            "generations": generations, "generated_tokens": tokens, "window_s": tokens / speed,
            "output_tokens_per_s": speed, "ttft_s": (step_s,) * generations,
            "itl_s": ((step_s,) * (cell.output_tokens - 1),) * generations,
            "e2e_s": (cell.output_tokens * step_s,) * generations, "time_uncertainty": 6.5,
        }
    )  # fmt: skip
    energy = EnergyMetrics(
        gpu_energy_j=joules, gpu_energy_uncertainty_j=0.04 * joules, duration_s=tokens / speed,
        energy_method="nvml_counter", energy_confidence="high", gpus=(GpuState(uuid="GPU-a", energy_j=joules),),
    )  # fmt: skip
    return Outcome(
        run=run, results=(one.model_copy(update={"inference_metrics": inference, "energy_metrics": energy}),)
    )


RESULTS = [cell_of(speeds, batch) for batch, speeds in enumerate(SPEEDS.values(), start=1)]
QUANTITIES = (quantities.THROUGHPUT, quantities.TTFT, quantities.ENERGY)


def test_table_page_and_file_agree_to_the_digit(tmp_path: Path) -> None:
    rows = orchestrator.load(sweeps.write(RESULTS, tmp_path)).results.to_pylist()
    stream = io.StringIO()
    Console(file=stream, width=200).print(report.table(RESULTS))
    lines = [line for line in stream.getvalue().splitlines() if " ok " in line]
    html_rows = re.findall(r"<tr[^>]*data-model=.*?</tr>", page.render(rows), re.DOTALL)
    for row, line, html in zip(rows, lines, html_rows, strict=True):
        for quantity in QUANTITIES:
            value, low, high = (
                row[f"{quantity.spread}_over_repeats_{name}"] for name in ("mean", "ci95_low", "ci95_high")
            )
            assert row[quantity.column] == value
            text = numbers.scale(quantity, rows).text(quantities.Figure(value=value, low=low, high=high))
            assert f" {text} " in line
            assert f">{text}</td>" in html or f">{text} {page.GLYPHS['high']}</td>" in html
            assert (low is None and high is None) or 0 < low <= value <= high


def test_steady_uneven_wild_and_single_repeats_are_shown_differently() -> None:
    rows = [dict(row) for row in sweeps.table(AggregatedResult, RESULTS).to_pylist()]
    texts = [numbers.Scale(factor=1.0, unit="").text(quantities.THROUGHPUT.of(row)) for row in rows]
    assert texts == ["354 ± 6", "350 [282\u2013435]", "37 unstable", "331"]


def test_the_sql_of_the_docs_gives_a_value_with_its_own_interval(tmp_path: Path) -> None:
    (sql,) = (block for block in re.findall(r"```sql\n(.*?)```", DOC, re.DOTALL) if "ci95_low" in block)
    slower = cell_of((1.0, 1.1, 1.2), 99)
    for number, one in enumerate(RESULTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        written = sweeps.write([slower, one], folder)
        (row,) = duckdb.sql(sql.replace("results/quickstart", str(written))).fetchall()
        _, _, _, speed, low, high, within_run = row
        spread = one.statistics.output_tokens_per_s_over_repeats
        assert (speed, low, high) == (spread.mean, spread.ci95_low, spread.ci95_high)
        assert within_run == 6.5


@pytest.mark.parametrize("one", RESULTS[:3], ids=list(SPEEDS)[:3])
def test_the_meters_uncertainty_is_the_same_share_of_each_repeat_and_of_the_mean(one: AggregatedResult) -> None:
    assert one.energy_per_output_token_uncertainty_j == pytest.approx(0.04 * one.energy_per_output_token_j)


@pytest.mark.parametrize("one", RESULTS[:3], ids=list(SPEEDS)[:3])
def test_no_rate_is_a_ratio_of_totals(one: AggregatedResult) -> None:
    tokens = one.inference_metrics
    assert tokens.output_tokens_per_s != pytest.approx(tokens.generated_tokens / tokens.window_s, rel=1e-6)
    assert one.energy_per_output_token_j == pytest.approx(90.0 / tokens.output_tokens_per_s)
