from hypothesis import given
from hypothesis import strategies as st

import testbed.report_sweeps as sweeps
from orchestrator.report import answers
from orchestrator.results.columns import table
from orchestrator.results.rows import AggregatedResult, Statistics

_COORDINATE = st.integers(1, 12).map(float)


@given(st.lists(st.tuples(_COORDINATE, _COORDINATE), max_size=30))
def test_no_point_beats_the_front_and_the_front_covers_every_point(points: list[tuple[float, float]]) -> None:
    front = answers.pareto([(x, y, i) for i, (x, y) in enumerate(points)])
    xs = [points[i][0] for i in front]
    assert xs == sorted(xs)
    for i in front:
        assert not any(x >= points[i][0] and y <= points[i][1] and (x, y) != points[i] for x, y in points)
    for x, y in points:
        assert any(points[i][0] >= x and points[i][1] <= y for i in front)


def test_cells_with_different_workloads_are_not_compared() -> None:
    groups = answers.groups(_rows(sweeps.gpu_sweep(models=2, workloads=3)))
    assert len(groups) == 6
    assert {(group.model, group.input_tokens) for group in groups} == {
        (f"llama-{m}b", prompt) for m in (1, 2) for prompt in (128, 256, 512)
    }


def test_a_failed_cell_is_in_no_comparison() -> None:
    rows = _rows(sweeps.gpu_sweep())
    members = [i for group in answers.groups(rows) for i in group.members]
    assert len(members) == len(rows) - 1
    assert all(rows[i]["status"] == "ok" for i in members)


def test_an_overlap_with_another_precision_names_it_and_a_clear_win_has_no_rival() -> None:
    close = _rows([_cell("fp16", 100.0, 3.0), _cell("bf16", 98.0, 3.0), _cell("fp16", 99.0, 3.0)])
    best = answers.fastest(close, range(3))
    assert best is not None
    assert (best.index, best.rival, best.doubt) == (0, 1, "the intervals overlap")
    clear = _rows([_cell("fp16", 100.0, 3.0), _cell("bf16", 90.0, 3.0)])
    best = answers.fastest(clear, range(2))
    assert best is not None
    assert (best.index, best.rival, best.doubt) == (0, None, "")


def test_without_an_interval_no_difference_is_claimed() -> None:
    rows = _rows([_cell("fp16", 100.0, 3.0), _cell("bf16", 50.0, 3.0)])
    rows[1] |= {"output_tokens_per_s_over_repeats_ci95_low": None}
    best = answers.fastest(rows, range(2))
    assert best is not None
    assert (best.rival, best.doubt) == (1, "not both have an interval")


def test_a_difference_within_the_meters_uncertainty_is_no_win() -> None:
    """Repeats do not show an error that they share: they agree to 0.1 %, but the meters err by 3 %."""
    rows = _rows([_cell("fp16", 100.0, 3.0), _cell("bf16", 100.0, 3.0)])
    for row, joules in zip(rows, (0.30, 0.31), strict=True):
        spread = sweeps.repeated(joules, 0.001)
        row |= {f"energy_per_output_token_j_over_repeats_{name}": value for name, value in spread}
        row["energy_per_output_token_uncertainty_j"] = 0.03 * joules
    best = answers.cheapest(rows, range(2))
    assert best is not None
    assert (best.index, best.rival, best.doubt) == (0, 1, "the difference is within the meters' uncertainty")
    for row in rows:
        row["energy_per_output_token_uncertainty_j"] = 0.001
    best = answers.cheapest(rows, range(2))
    assert best is not None
    assert best.rival is None


def test_without_energy_no_cell_is_cheapest() -> None:
    rows = _rows(sweeps.cpu_sweep())
    assert answers.cheapest(rows, range(len(rows))) is None


def _rows(results: list[AggregatedResult]) -> list[dict]:
    return table(AggregatedResult, results).to_pylist()


def _cell(precision: str, rate: float, half: float) -> AggregatedResult:
    """A measured cell whose throughput is about `rate` ± `half` tokens/s over five repeats."""
    result = next(r for r in sweeps.gpu_sweep(models=1) if r.cell.precision == precision)
    assert result.inference_metrics is not None
    spread = sweeps.repeated(rate, half / rate)
    return result.model_copy(
        update={
            "inference_metrics": result.inference_metrics.model_copy(update={"output_tokens_per_s": rate}),
            "statistics": Statistics(output_tokens_per_s_over_repeats=spread),
        }
    )
