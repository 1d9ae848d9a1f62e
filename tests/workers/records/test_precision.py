"""What precisions mean, and the figures that are adjusted for them, worked out by hand."""

from typing import Any

import pytest

from workers.records import DTYPES, PRECISION_SPECS, PRECISIONS, NormalisedMetrics, PrecisionMetadata


def metadata(compute: Any) -> PrecisionMetadata:
    return PrecisionMetadata(weights="int4", activations="bf16", compute=compute)


def normalised(compute: Any = "int8", **changed: Any) -> NormalisedMetrics:
    usual = {"flops": 4e15, "output_tokens": 100.0, "tokens_per_second": 600.0, "joules_per_token": 0.5}
    return NormalisedMetrics.from_metrics(precision=metadata(compute), **{**usual, "mean_power_w": 300.0, **changed})


@pytest.mark.parametrize(
    ("compute", "factor"),
    [
        ("fp32", 1.0), ("tf32", 1.0), ("fp16", 1.0), ("bf16", 1.0), ("fp8", 0.5), ("int8", 0.5), ("int4", 0.25),
        ("mixed", 0.75),
    ],
)  # fmt: skip
def test_the_factor_goes_by_the_type_that_is_computed_in(compute: Any, factor: float) -> None:
    assert metadata(compute).precision_factor == factor
    assert normalised(compute).precision_factor == factor
    assert normalised(compute).effective_flops == 4e15 * factor


def test_every_type_has_its_size() -> None:
    sizes = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1, "int4": 0.5, "mixed": None}
    assert {dtype: spec.size_bytes for dtype, spec in DTYPES.items()} == sizes


@pytest.mark.parametrize(
    ("precision", "compute", "weight_bytes", "capability"),
    [
        ("fp32", "fp32", 4, (0, 0)),
        ("tf32", "tf32", 4, (8, 0)),
        ("fp16", "fp16", 2, (0, 0)),
        ("bf16", "bf16", 2, (8, 0)),
        ("int8-bnb", "bf16", 1, (7, 5)),
        ("int4-bnb", "bf16", 0.5625, (6, 0)),  # 4 bits, and a scale of 32 bits for each 64 weights
        ("int8-torchao", "bf16", 1, (0, 0)),
        ("fp8-torchao", "bf16", 1, (8, 9)),
    ],
)
def test_every_precision_has_its_type_its_size_and_its_least_card(
    precision: Any, compute: str, weight_bytes: float, capability: tuple[int, int]
) -> None:
    spec = PRECISION_SPECS[precision]
    assert (spec.compute, spec.weight_bytes, spec.least_capability) == (compute, weight_bytes, capability)
    assert bool(spec.because) == (capability != (0, 0))
    assert {*PRECISION_SPECS} == {*PRECISIONS}


def test_effective_flops_are_the_flops_times_the_factor_and_the_tokens_are_over_them() -> None:
    got = normalised("int4")
    assert got.effective_flops == 1e15
    assert got.tokens_per_effective_pflop == 100.0
    assert normalised("int8").tokens_per_effective_pflop == 50.0


def test_tokens_per_joule_and_per_second_and_watt_are_quotients() -> None:
    got = normalised()
    assert got.tokens_per_joule == 2.0
    assert got.tokens_per_second_per_watt == 2.0
    assert normalised(tokens_per_second=900.0).tokens_per_second_per_watt == 3.0


@pytest.mark.parametrize(
    ("missing", "nulls"),
    [
        ({"flops": None}, {"effective_flops", "tokens_per_effective_pflop"}),
        ({"joules_per_token": None}, {"tokens_per_joule"}),
        ({"joules_per_token": 0.0}, {"tokens_per_joule"}),
        ({"tokens_per_second": None}, {"tokens_per_second_per_watt"}),
        ({"mean_power_w": None}, {"tokens_per_second_per_watt"}),
        ({"mean_power_w": 0.0}, {"tokens_per_second_per_watt"}),
        ({"flops": 0.0}, {"tokens_per_effective_pflop"}),
    ],
)
def test_a_figure_whose_input_is_missing_is_null_and_no_other(missing: Any, nulls: set[str]) -> None:
    assert {name for name, value in normalised(**missing) if value is None} == nulls
