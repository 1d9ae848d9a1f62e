import pytest
import report_sweeps as sweeps

from orchestrator.columns import table
from orchestrator.report import figures
from orchestrator.results import AggregatedResult

ROWS = table(AggregatedResult, sweeps.gpu_sweep()).to_pylist()
CPU_ROWS = table(AggregatedResult, sweeps.cpu_sweep()).to_pylist()
QUANTITIES = [value for value in vars(figures).values() if isinstance(value, figures.Quantity)]


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.key)
def test_every_figure_has_a_value_or_a_reason(quantity: figures.Quantity) -> None:
    for row in [*ROWS, *CPU_ROWS]:
        figure = quantity.of(row)
        assert (figure.value is None) == bool(figure.reason)


def test_a_failed_cell_gives_its_error_as_the_reason() -> None:
    row = next(row for row in ROWS if row["status"] == "oom")
    assert figures.ENERGY.of(row).reason == "oom: OutOfMemoryError: CUDA out of memory. Tried to allocate 24.00 GiB"


def test_of_meter_and_repeats_the_wider_interval_stands() -> None:
    row = dict(ROWS[0])
    joules = row["energy_per_output_token_j"]
    wide, narrow = (
        figures.ENERGY.of(row),
        figures.ENERGY.of({**row, "energy_per_output_token_uncertainty_j": 0.001 * joules}),
    )
    assert (wide.basis, wide.half_width) == ("from the meters", pytest.approx(0.03 * joules))
    assert (narrow.basis, narrow.half_width) == ("over 5 repeats", pytest.approx(0.02 * joules))


def test_energy_carries_its_method_and_confidence() -> None:
    figure = figures.ENERGY.of(ROWS[0])
    assert figure.method == "nvml_counter"
    assert figure.confidence == ROWS[0]["energy_confidence"]


@pytest.mark.parametrize(
    ("value", "half_width", "shown"),
    [
        (12.3456, 0.251, "12.35 ± 0.25"),
        (12.3456, 0.551, "12.3 ± 0.6"),
        (1234.5, 24.1, "1,234 ± 24"),
        (0.044219, 0.00132, "0.0442 ± 0.0013"),
        (12.3456, None, "12.3"),
        (4115.2, None, "4,115"),
        (0.000318, None, "0.000318"),
        (0.0, None, "0"),
    ],
)
def test_the_uncertainty_decides_how_many_digits_are_shown(value: float, half_width: float | None, shown: str) -> None:
    assert figures.with_width(value, half_width) == shown


def test_a_column_has_one_unit_that_fits_its_middle_figure() -> None:
    assert figures.scale(figures.TTFT, ROWS).unit == "ms"
    assert figures.scale(figures.FLOPS, ROWS).unit == "TFLOP"
    assert figures.scale(figures.THROUGHPUT, ROWS).unit == "tokens/s"
    assert figures.scale(figures.ENERGY, CPU_ROWS).unit == "J/token", "no figure: the plain unit"
