"""Combines tokens and times over ranks and repeats.

Tokens add up over data-parallel ranks and repeats, generations only over repeats: each rank generates its share of the
batch. Time is the union of the windows, not their sum, as ranks measure in parallel. Rates and mean latencies are
computed per run and averaged over the repeats. Percentiles are over all requests, never averages of percentiles.
"""

from collections.abc import Callable, Iterable, Sequence

from orchestrator.aggregate.spread import mean
from orchestrator.aggregate.windows import covered_s
from workers.records import Distribution, InferenceMetrics, RawProcessResult

Repeat = Sequence[RawProcessResult]
"""The ranks of one run that have their own tokens: only the first rank of a tensor-parallel group."""


_RATES = ("output_tokens_per_s", "prefill_tokens_per_s", "decode_tokens_per_s")
_LATENCIES = ("ttft", "itl", "tpot", "e2e")


def combine_ranks(repeat: Repeat) -> InferenceMetrics:
    """Combine the ranks of one run, without the raw times."""
    return _pool_runs([repeat])


def inference(repeats: Sequence[Repeat], runs: Sequence[InferenceMetrics]) -> InferenceMetrics:
    """Combine the repeats of a cell; `runs` has `combine_ranks` of each repeat."""
    if len(runs) == 1:
        return runs[0]
    pooled = _pool_runs(repeats)
    rates = {name: mean(getattr(run, name) for run in runs) for name in _RATES}
    latencies = {
        name: _with_mean_over_runs(getattr(pooled, name), [getattr(run, name) for run in runs]) for name in _LATENCIES
    }
    return pooled.model_copy(update=rates | latencies)


def _pool_runs(repeats: Sequence[Repeat]) -> InferenceMetrics:
    """Pool all ranks of all repeats as if they were one run: totals, and figures derived from them."""
    results = [result for repeat in repeats for result in repeat]
    parts = [result.inference_metrics for result in results]
    total_s = sum(map(covered_s, repeats))
    generated = sum(part.generated_tokens for part in parts)
    prompts = sum(part.prompt_tokens for part in parts)
    ranks = len(results) / len(repeats)
    ttft_s = sum(sum(part.ttft_s) for part in parts)
    later_s = sum(sum(map(sum, part.itl_s)) for part in parts)
    later_tokens = generated - sum(part.requests for part in parts)
    return InferenceMetrics(
        generations=sum(part.generations for part in parts) / ranks,
        requests=sum(part.requests for part in parts),
        prompt_tokens=prompts,
        generated_tokens=generated,
        window_s=total_s,
        output_tokens_per_s=generated / total_s,
        # Ranks prefill in parallel: their times overlap, so the elapsed time is the mean over ranks.
        prefill_tokens_per_s=prompts / (ttft_s / ranks) if ttft_s else None,
        decode_tokens_per_s=later_tokens / (later_s / ranks) if later_s else None,
        ttft=_distribution(results, lambda part: part.ttft_s),
        itl=_distribution(results, lambda part: (gap for gaps in part.itl_s for gap in gaps)),
        tpot=_distribution(results, lambda part: (sum(gaps) / len(gaps) for gaps in part.itl_s if gaps)),
        e2e=_distribution(results, lambda part: part.e2e_s),
        latency_reason=next((part.latency_reason for part in parts if part.latency_reason), None),
        time_uncertainty=max(
            (part.time_uncertainty for part in parts if part.time_uncertainty is not None), default=None
        ),
        timing_method=parts[0].timing_method,
    )


def _with_mean_over_runs(pooled: Distribution | None, runs: Sequence[Distribution | None]) -> Distribution | None:
    """The distribution over all requests, but with the mean of the repeats' means."""
    return pooled and pooled.model_copy(update={"mean_s": mean(run.mean_s for run in runs if run)})


def _distribution(
    results: Iterable[RawProcessResult], times: Callable[[InferenceMetrics], Iterable[float]]
) -> Distribution | None:
    values: list[float] = []
    rows: list[int] = []
    for result in results:
        own = list(times(result.inference_metrics))
        values += own
        rows += [result.measured_batch_size] * len(own)
    return Distribution.of(values, rows) if values else None
