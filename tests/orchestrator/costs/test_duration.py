"""Rough durations only order the runs: a longer run must have a longer duration."""

import math
from typing import Any

import pytest

from orchestrator.costs.duration import rough_load_s, rough_run_s
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


def test_without_a_cost_the_duration_follows_the_tokens() -> None:
    assert rough_run_s(cell(output_tokens=20), None) == pytest.approx(2 * rough_run_s(cell(), None))


def test_arithmetic_weights_and_cache_each_make_a_run_longer() -> None:
    base = rough_run_s(cell(), cost())
    assert rough_run_s(cell(), cost(flops=1e15)) > base
    assert rough_run_s(cell(), cost(weights_mb=1e5)) > base
    assert rough_run_s(cell(), cost(cache_mb=1e5)) > base


def test_ranks_that_split_a_model_share_its_work() -> None:
    heavy = cost(flops=1e14, weights_mb=1e5)  # 1 s of arithmetic, 0.1 s of reading a token
    assert rough_run_s(cell(tensor_parallel=4), heavy) == pytest.approx(rough_run_s(cell(), heavy) / 4)


def test_max_s_limits_the_window() -> None:
    heavy = cost(flops=1e16)  # 100 s a generation
    capped = rough_run_s(cell(window=Window(min_generations=50, max_s=30)), heavy)
    assert capped < rough_run_s(cell(window=Window(min_generations=50, max_s=10_000)), heavy) / 5


def test_perplexity_makes_a_run_longer() -> None:
    quality = Quality(sha256="0", file="text.txt", max_tokens=10_000, stride_tokens=100)
    assert rough_run_s(cell(quality=quality), None) > rough_run_s(cell(), None)


def test_a_run_takes_its_generations_by_hand() -> None:
    # 1 TFLOP at 100 TFLOP/s is 0.01 s; 25 GB of weights and 5 GB of cache at 1 TB/s are 0.03 s for each of 10 tokens
    heavy = cost(flops=1e12, weights_mb=25e3, cache_mb=5e3)
    assert rough_run_s(cell(), heavy) == pytest.approx((2 + 3) * (0.01 + 10 * 0.03))
    light = cost(flops=1e12, weights_mb=1e3)
    assert rough_run_s(cell(), light) == pytest.approx(5 * (0.01 + 10 * 0.01))  # a pass takes 10 ms at least
    assert rough_run_s(cell(), None) == pytest.approx(5 * 10 * 0.01)


def test_a_capped_window_begins_its_last_generation_at_the_cap() -> None:
    second = cost(flops=1e14 - 1e13)  # 0.9 s, and 0.1 s for its tokens
    capped = cell(window=Window(min_generations=50, max_s=7))
    assert rough_run_s(capped, second) == pytest.approx(2 + 7 + 1)


def test_perplexity_takes_a_pass_for_every_stride() -> None:
    quality = Quality(sha256="0", file="text.txt", max_tokens=10_000, stride_tokens=100)
    assert rough_run_s(cell(quality=quality), None) == pytest.approx(0.5 + 100 * 0.01)


def test_loading_takes_a_second_for_each_gigabyte() -> None:
    assert rough_load_s(cost(weights_mb=25e3)) == pytest.approx(25)
    assert rough_load_s(None) == math.inf
