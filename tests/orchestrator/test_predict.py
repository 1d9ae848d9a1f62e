"""Predicted times only have to order the runs: longer ones must be predicted longer."""

from typing import Any

import pytest

from orchestrator.predict import predicted_s
from workers.records import (
    Cell,
    FlopsEstimates,
    FlopsResult,
    InferenceCost,
    ModelSpec,
    Quality,
    Warmup,
    Window,
)


def cell(**fields: Any) -> Cell:
    usual = {"warmup": Warmup(floor=2), "window": Window(min_generations=3), "output_tokens": 10}
    return Cell(model=ModelSpec(name="m", source="org/m"), precision="bf16", **{**usual, **fields})


def cost(*, flops: float = 1e12, weights_mb: float = 1e3, cache_mb: float = 0.0) -> InferenceCost:
    return InferenceCost(
        flops=FlopsResult(value=flops, method="architecture", confidence="high", precision="bf16"),
        estimates=FlopsEstimates(),
        parameters=1,
        active_parameters=1,
        weight_memory_mb=weights_mb,
        kv_cache_mb=cache_mb,
    )


def test_without_a_cost_the_tokens_count() -> None:
    assert predicted_s(cell(output_tokens=20), None) == pytest.approx(2 * predicted_s(cell(), None))


def test_arithmetic_weights_and_cache_each_make_a_run_longer() -> None:
    base = predicted_s(cell(), cost())
    assert predicted_s(cell(), cost(flops=1e15)) > base
    assert predicted_s(cell(), cost(weights_mb=1e5)) > base
    assert predicted_s(cell(), cost(cache_mb=1e5)) > base


def test_ranks_that_split_a_model_share_its_work() -> None:
    heavy = cost(flops=1e14, weights_mb=1e5)  # 1 s of arithmetic, 0.1 s of reading a token
    assert predicted_s(cell(tensor_parallel=4), heavy) == pytest.approx(predicted_s(cell(), heavy) / 4)


def test_a_window_that_is_capped_ends_at_its_cap() -> None:
    heavy = cost(flops=1e16)  # 100 s a generation
    capped = predicted_s(cell(window=Window(min_generations=50, max_s=30)), heavy)
    assert capped < predicted_s(cell(window=Window(min_generations=50, max_s=10_000)), heavy) / 5


def test_perplexity_takes_its_time() -> None:
    quality = Quality(sha256="0", file="text.txt", max_tokens=10_000, stride_tokens=100)
    assert predicted_s(cell(quality=quality), None) > predicted_s(cell(), None)
