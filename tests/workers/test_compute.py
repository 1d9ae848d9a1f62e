import pytest

from workers.clock import TokenTimes
from workers.compute import compute_metrics
from workers.latency import inference_metrics
from workers.records import ComputeMetrics, FlopsEstimates, FlopsResult, InferenceCost, InferenceMetrics

COST = InferenceCost(
    flops=FlopsResult(value=6e9, method="architecture", confidence="high", precision="fp32"),
    estimates=FlopsEstimates(architecture=6e9),
    parameters=1000,
    active_parameters=900,
    weight_memory_mb=4.0,
    decode_weight_read_mb=3.0,
    decode_cache_read_mb=0.5,
)


def inference(generations: int = 5) -> InferenceMetrics:
    return inference_metrics(
        [TokenTimes(e2e_s=0.5, token_s=(0.2, 0.3, 0.5))] * generations,
        rows=2,
        output_tokens=3,
        prompt_tokens=10,
        window_s=2.5,
        time_uncertainty=0.0,
        timing_method="perf_counter",
    )


def figures(
    cost: InferenceCost | None, reason: str | None = None, cards: tuple[str, ...] = (), split: int = 1
) -> ComputeMetrics:
    return compute_metrics(
        cost,
        reason,
        inference(),
        compute="bf16",
        cards=cards,
        split=split,
        peak=(120.0, "process_rss", None),
        model_memory_mb=4.0,
    )


def test_flops_are_divided_by_the_tokens_of_one_generation_and_by_time() -> None:
    metrics = figures(COST)
    assert metrics.flops == COST.flops
    assert metrics.flops_per_token == pytest.approx(6e9 / 6)
    assert metrics.flops_per_second == pytest.approx(5 * 6e9 / 2.5)
    assert (metrics.parameters, metrics.active_parameters) == (1000, 900)


def test_utilisation_is_over_the_peak_of_the_cards_that_computed() -> None:
    metrics = figures(COST, cards=("NVIDIA A100-SXM4-80GB",) * 2)
    assert metrics.mfu == pytest.approx(5 * 6e9 / 2.5 / (2 * 312e12))
    assert metrics.mbu == pytest.approx(3.5e6 / 0.15 / (2 * 2039e9))  # the mean of ITL 0.1 and 0.2 s
    assert metrics.peak_source == "NVIDIA A100 Tensor Core GPU datasheet"


def test_ranks_of_one_split_model_are_held_against_the_peak_of_all_their_cards() -> None:
    alone, split = (figures(COST, cards=("NVIDIA A100-SXM4-80GB",), split=ways) for ways in (1, 4))
    assert alone.mfu is not None and alone.mbu is not None  # noqa: PT018 - for the type checker
    assert (split.mfu, split.mbu) == (pytest.approx(alone.mfu / 4), pytest.approx(alone.mbu / 4))
    assert split.flops_per_second == alone.flops_per_second


@pytest.mark.parametrize(("cards", "why"), [((), "no GPU was used"), (("Abacus 3000",), "'Abacus 3000'")])
def test_without_a_sourced_peak_there_is_no_utilisation(cards: tuple[str, ...], why: str) -> None:
    metrics = figures(COST, cards=cards)
    assert (metrics.mfu, metrics.mbu) == (None, None)
    assert metrics.peak_source is not None
    assert why in metrics.peak_source


def test_without_a_count_the_figures_are_null_with_the_reason_and_memory_stays() -> None:
    metrics = figures(None, "the counting process was killed")
    assert (metrics.flops, metrics.flops_per_token, metrics.flops_per_second) == (None, None, None)
    assert metrics.flops_reason == "the counting process was killed"
    assert metrics.peak_memory_mb == 120.0
    assert metrics.model_memory_mb == 4.0
