import pytest

import testbed.report_sweeps as sweeps
from orchestrator.report import quantities
from orchestrator.results.columns import table
from orchestrator.results.rows import AggregatedResult

ROWS = table(AggregatedResult, sweeps.gpu_sweep()).to_pylist()
CPU_ROWS = table(AggregatedResult, sweeps.cpu_sweep()).to_pylist()
QUANTITIES = [value for value in vars(quantities).values() if isinstance(value, quantities.Quantity)]
WITH_INTERVAL = [quantity for quantity in QUANTITIES if quantity.spread]


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.key)
def test_every_figure_has_a_value_or_a_reason(quantity: quantities.Quantity) -> None:
    for row in [*ROWS, *CPU_ROWS]:
        figure = quantity.of(row)
        assert (figure.value is None) == bool(figure.reason)


def test_a_failed_cell_gives_its_error_as_the_reason() -> None:
    row = next(row for row in ROWS if row["status"] == "oom")
    assert quantities.ENERGY.of(row).reason == "oom: OutOfMemoryError: CUDA out of memory. Tried to allocate 24.00 GiB"


@pytest.mark.parametrize("quantity", WITH_INTERVAL, ids=lambda quantity: quantity.key)
def test_an_interval_is_around_its_own_value(quantity: quantities.Quantity) -> None:
    row = ROWS[0]
    figure = quantity.of(row)
    assert figure.value == row[f"{quantity.spread}_over_repeats_mean"]
    assert (figure.low, figure.high) == tuple(
        row[f"{quantity.spread}_over_repeats_ci95_{end}"] for end in ("low", "high")
    )
    assert figure.low <= figure.value <= figure.high


def test_a_multiple_of_the_throughput_has_its_relative_interval() -> None:
    row = ROWS[0]
    speed = quantities.THROUGHPUT.of(row)
    for quantity in (quantities.FLOPS_PER_S, quantities.MFU):
        figure = quantity.of(row)
        assert figure.value == row[quantity.column]
        assert figure.low / figure.value == pytest.approx(speed.low / speed.value)
        assert figure.high / figure.value == pytest.approx(speed.high / speed.value)


def test_results_of_an_older_version_show_the_centre_of_their_interval() -> None:
    """There the column itself was the ratio of totals, and the interval was around the arithmetic mean."""
    row = ROWS[0] | {
        "output_tokens_per_s": 331.0, "output_tokens_per_s_over_repeats_mean": 353.7,
        "output_tokens_per_s_over_repeats_ci95_low": 265.7, "output_tokens_per_s_over_repeats_ci95_high": 441.7,
    }  # fmt: skip
    assert quantities.THROUGHPUT.of(row).value == 353.7


def test_the_uncertainties_within_a_run_and_of_the_meter_widen_no_interval() -> None:
    wild = ROWS[0] | {"time_uncertainty": 6.5, "energy_per_output_token_uncertainty_j": 9.0}
    for quantity in (quantities.THROUGHPUT, quantities.ENERGY):
        before, after = quantity.of(ROWS[0]), quantity.of(wild)
        assert (after.value, after.low, after.high) == (before.value, before.low, before.high)
    assert quantities.WITHIN_RUN.of(wild).value == 6.5
    assert quantities.METER.of(ROWS[0]).value == pytest.approx(0.03)


def test_one_repeat_has_a_value_and_no_interval() -> None:
    one = {f"output_tokens_per_s_over_repeats_{name}": value for name, value in sweeps.repeated(42.0, 0.1, 1)}
    figure = quantities.THROUGHPUT.of(ROWS[0] | one)
    assert (figure.value, figure.low, figure.high, figure.unstable) == (42.0, None, None, False)
    assert figure.origin == "no interval: one repeat"


def test_an_interval_wider_than_its_value_is_unstable() -> None:
    def throughput(share: float) -> quantities.Figure:
        spread = sweeps.repeated(43.0, share)
        return quantities.THROUGHPUT.of(
            ROWS[0] | {f"output_tokens_per_s_over_repeats_{name}": value for name, value in spread}
        )

    assert throughput(1.0).unstable  # 21.5 to 86
    assert not throughput(0.5).unstable  # 28.7 to 64.5


def test_the_peak_of_a_cpu_process_has_no_interval_and_names_its_origin() -> None:
    figure = quantities.PEAK_MEMORY.of(CPU_ROWS[0])
    assert (figure.value, figure.low, figure.high) == (CPU_ROWS[0]["peak_memory_mb"], None, None)
    assert figure.origin.startswith("high-water mark of the whole process")
    assert quantities.PEAK_MEMORY.of(ROWS[0]).low is not None, "an allocator counts bytes"


def test_energy_carries_its_method_and_confidence() -> None:
    figure = quantities.ENERGY.of(ROWS[0])
    assert figure.method == "nvml_counter"
    assert figure.confidence == ROWS[0]["energy_confidence"]
