import pytest
import report_sweeps as sweeps

from orchestrator.columns import table
from orchestrator.report import figures
from orchestrator.results import AggregatedResult

ROWS = table(AggregatedResult, sweeps.gpu_sweep()).to_pylist()
CPU_ROWS = table(AggregatedResult, sweeps.cpu_sweep()).to_pylist()
QUANTITIES = [value for value in vars(figures).values() if isinstance(value, figures.Quantity)]
WITH_INTERVAL = [quantity for quantity in QUANTITIES if quantity.spread]


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.key)
def test_every_figure_has_a_value_or_a_reason(quantity: figures.Quantity) -> None:
    for row in [*ROWS, *CPU_ROWS]:
        figure = quantity.of(row)
        assert (figure.value is None) == bool(figure.reason)


def test_a_failed_cell_gives_its_error_as_the_reason() -> None:
    row = next(row for row in ROWS if row["status"] == "oom")
    assert figures.ENERGY.of(row).reason == "oom: OutOfMemoryError: CUDA out of memory. Tried to allocate 24.00 GiB"


@pytest.mark.parametrize("quantity", WITH_INTERVAL, ids=lambda quantity: quantity.key)
def test_an_interval_is_around_the_figure_that_it_stands_beside(quantity: figures.Quantity) -> None:
    row = ROWS[0]
    figure = quantity.of(row)
    assert figure.value == row[f"{quantity.spread}_over_repeats_mean"]
    assert (figure.low, figure.high) == tuple(
        row[f"{quantity.spread}_over_repeats_ci95_{end}"] for end in ("low", "high")
    )
    assert figure.low <= figure.value <= figure.high


def test_a_multiple_of_the_throughput_is_as_uncertain_as_it() -> None:
    row = ROWS[0]
    speed = figures.THROUGHPUT.of(row)
    for quantity in (figures.FLOPS_PER_S, figures.MFU):
        figure = quantity.of(row)
        assert figure.value == row[quantity.column]
        assert figure.low / figure.value == pytest.approx(speed.low / speed.value)
        assert figure.high / figure.value == pytest.approx(speed.high / speed.value)


def test_results_of_an_older_version_show_the_centre_of_their_interval_too() -> None:
    """There, the figure's own column was the ratio of totals, and the interval that of the arithmetic mean."""
    row = ROWS[0] | {
        "output_tokens_per_s": 331.0, "output_tokens_per_s_over_repeats_mean": 353.7,
        "output_tokens_per_s_over_repeats_ci95_low": 265.7, "output_tokens_per_s_over_repeats_ci95_high": 441.7,
    }  # fmt: skip
    assert figures.THROUGHPUT.of(row).value == 353.7


def test_what_a_run_and_its_meter_know_of_themselves_widens_no_interval() -> None:
    wild = ROWS[0] | {"time_uncertainty": 6.5, "energy_per_output_token_uncertainty_j": 9.0}
    for quantity in (figures.THROUGHPUT, figures.ENERGY):
        calm, still = quantity.of(ROWS[0]), quantity.of(wild)
        assert (still.value, still.low, still.high) == (calm.value, calm.low, calm.high)
    assert figures.WITHIN_RUN.of(wild).value == 6.5
    assert figures.METER.of(ROWS[0]).value == pytest.approx(0.03)


def test_one_repeat_has_a_figure_and_no_interval() -> None:
    one = {f"output_tokens_per_s_over_repeats_{name}": value for name, value in sweeps.repeated(42.0, 0.1, 1)}
    figure = figures.THROUGHPUT.of(ROWS[0] | one)
    assert (figure.value, figure.low, figure.high, figure.unstable) == (42.0, None, None, False)
    assert figure.origin == "no interval: one repeat"


def test_an_interval_wider_than_its_figure_is_unstable() -> None:
    def throughput(share: float) -> figures.Figure:
        spread = sweeps.repeated(43.0, share)
        return figures.THROUGHPUT.of(
            ROWS[0] | {f"output_tokens_per_s_over_repeats_{name}": value for name, value in spread}
        )

    assert throughput(1.0).unstable  # 21.5 to 86
    assert not throughput(0.5).unstable  # 28.7 to 64.5


def test_the_peak_of_a_cpu_process_has_no_interval_and_says_whose_it_is() -> None:
    figure = figures.PEAK_MEMORY.of(CPU_ROWS[0])
    assert (figure.value, figure.low, figure.high) == (CPU_ROWS[0]["peak_memory_mb"], None, None)
    assert figure.origin.startswith("high-water mark of the whole process")
    assert figures.PEAK_MEMORY.of(ROWS[0]).low is not None, "an allocator counts bytes"


def test_energy_carries_its_method_and_confidence() -> None:
    figure = figures.ENERGY.of(ROWS[0])
    assert figure.method == "nvml_counter"
    assert figure.confidence == ROWS[0]["energy_confidence"]
