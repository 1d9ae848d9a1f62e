from typing import Any

import numpy as np
import pytest

from workers.engines.transformers.clock import TokenTimes
from workers.latency import inference_metrics
from workers.records import InferenceMetrics

GENERATIONS = [
    TokenTimes(e2e_s=1.0, token_s=(0.4, 0.6, 0.9)),
    TokenTimes(e2e_s=2.0, token_s=(0.5, 1.0, 1.8)),
]


def figures(generations: list[TokenTimes] = GENERATIONS, **changed: Any) -> InferenceMetrics:
    usual = {
        "rows": 2,
        "output_tokens": len(generations[0].token_s),
        "prompt_tokens": 14,
        "window_s": 3.5,
        "time_uncertainty": 0.01,
        "timing_method": "perf_counter",
    }
    return inference_metrics(generations, **{**usual, **changed})


def test_tokens_are_counted_over_all_requests() -> None:
    metrics = figures()
    assert (metrics.generations, metrics.requests) == (2, 4)
    assert (metrics.prompt_tokens, metrics.generated_tokens) == (28, 12)
    assert metrics.output_tokens_per_s == pytest.approx(12 / 3.5)


def test_each_generation_answers_a_request_per_row() -> None:
    assert figures([*GENERATIONS, GENERATIONS[0]]).requests == 6


def test_prefill_and_decode_have_separate_rates() -> None:
    metrics = figures()
    assert metrics.prefill_tokens_per_s == pytest.approx(28 / 0.9)
    assert metrics.decode_tokens_per_s == pytest.approx(8 / (0.2 + 0.3 + 0.5 + 0.8))


def test_itl_has_one_value_fewer_than_tokens_in_every_generation() -> None:
    assert [len(gaps) for gaps in figures().itl_s] == [2, 2]
    assert figures().itl_s[1] == pytest.approx((0.5, 0.8))


def test_means_and_percentiles_are_over_requests() -> None:
    metrics = figures()
    assert metrics.ttft.mean_s == pytest.approx(0.45)
    # four requests: 0.4, 0.4, 0.5, 0.5; over the two generations alone it would be 0.49
    assert metrics.ttft.p90_s == pytest.approx(np.percentile([0.4, 0.4, 0.5, 0.5], 90)) == pytest.approx(0.5)
    assert metrics.tpot.mean_s == pytest.approx(((1.0 - 0.4) / 2 + (2.0 - 0.5) / 2) / 2)
    assert metrics.e2e.p50_s == pytest.approx(1.5)


def test_one_output_token_has_no_inter_token_figures() -> None:
    metrics = figures([TokenTimes(e2e_s=1.0, token_s=(0.9,))])
    assert metrics.ttft is not None
    assert (metrics.itl, metrics.tpot, metrics.decode_tokens_per_s) == (None, None, None)
    assert metrics.itl_s == ((),)


def test_figures_per_token_are_null_with_a_reason_if_tokens_cannot_be_timed() -> None:
    metrics = figures(not_timed="beam_search does not emit one token per step")
    assert (metrics.ttft, metrics.itl, metrics.tpot) == (None, None, None)
    assert (metrics.prefill_tokens_per_s, metrics.decode_tokens_per_s) == (None, None)
    assert metrics.latency_reason.startswith("beam_search")
    assert metrics.e2e is not None
