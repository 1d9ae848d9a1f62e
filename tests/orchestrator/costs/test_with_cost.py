import pytest

from orchestrator.costs.utilisation import with_cost
from workers.engines import TokenTimes
from workers.engines.fake import fake_result
from workers.latency import inference_metrics
from workers.records import (
    Cell,
    ComputeMetrics,
    FlopsEstimates,
    FlopsResult,
    InferenceCost,
    InferenceMetrics,
    ModelSpec,
    Run,
)

CELL = Cell(model=ModelSpec(name="m", config={"model_type": "llama"}), precision="bf16")

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
    plain = fake_result(Run(cell=CELL, repeat=0))
    measured = plain.model_copy(
        update={
            "inference_metrics": inference(),
            "precision_metadata": plain.precision_metadata.model_copy(update={"compute": "bf16"}),
            "environment": plain.environment.model_copy(update={"gpu_names": cards}),
            "compute_metrics": ComputeMetrics(peak_memory_mb=120.0, memory_method="process_rss", model_memory_mb=4.0),
        }
    )
    return with_cost(measured, cost, reason, split=split).compute_metrics


def test_rates_are_flops_over_tokens_and_over_time() -> None:
    metrics = figures(COST)
    assert metrics.flops == COST.flops
    assert metrics.flops_per_token == pytest.approx(6e9 / 6)
    assert metrics.flops_per_second == pytest.approx(5 * 6e9 / 2.5)
    assert (metrics.parameters, metrics.active_parameters) == (1000, 900)


def test_rates_and_utilisations_by_hand() -> None:
    """5 generations of 6 GFLOP in 2.5 s, 2 x 3 tokens each; a pass reads 3.5 MB in 0.15 s; an A100 has 312 TFLOP/s."""
    metrics = figures(COST, cards=("NVIDIA A100-SXM4-80GB",))
    assert metrics.flops_per_second == pytest.approx(12e9)
    assert metrics.flops_per_token == pytest.approx(1e9)
    assert metrics.mfu == pytest.approx(3.84615e-5, rel=1e-5)
    assert metrics.mbu == pytest.approx(1.144352e-5, rel=1e-5)


def test_utilisation_is_relative_to_the_peak_of_the_used_cards() -> None:
    metrics = figures(COST, cards=("NVIDIA A100-SXM4-80GB",) * 2)
    assert metrics.mfu == pytest.approx(5 * 6e9 / 2.5 / (2 * 312e12))
    assert metrics.mbu == pytest.approx(3.5e6 / 0.15 / (2 * 2039e9))  # the mean of ITL 0.1 and 0.2 s
    assert metrics.peak_source == "NVIDIA A100 Tensor Core GPU datasheet"


def test_utilisation_of_a_split_model_is_relative_to_the_peak_of_all_its_cards() -> None:
    alone, split = (figures(COST, cards=("NVIDIA A100-SXM4-80GB",), split=ways) for ways in (1, 4))
    assert alone.mfu is not None and alone.mbu is not None  # noqa: PT018 - for the type checker
    assert (split.mfu, split.mbu) == (pytest.approx(alone.mfu / 4), pytest.approx(alone.mbu / 4))
    assert split.flops_per_second == alone.flops_per_second


@pytest.mark.parametrize(("cards", "reason"), [((), "no GPU was used"), (("Abacus 3000",), "'Abacus 3000'")])
def test_without_a_datasheet_peak_there_is_no_utilisation(cards: tuple[str, ...], reason: str) -> None:
    metrics = figures(COST, cards=cards)
    assert (metrics.mfu, metrics.mbu) == (None, None)
    assert metrics.peak_source is not None
    assert reason in metrics.peak_source


def test_without_a_cost_the_figures_are_null_with_a_reason_and_memory_stays() -> None:
    metrics = figures(None, "the counting process was killed")
    assert (metrics.flops, metrics.flops_per_token, metrics.flops_per_second) == (None, None, None)
    assert metrics.flops_reason == "the counting process was killed"
    assert metrics.peak_memory_mb == 120.0
    assert metrics.model_memory_mb == 4.0
