"""Tokens and times of several processes and repeats as one.

Tokens add up over data-parallel ranks and repeats, generations over repeats only: each rank generates its share of the
batch. Time is the union of the windows, not their sum: ranks measure side by side. Rates and mean latencies are each
run's own, and their mean over the repeats. Percentiles are of all requests together, never averages of percentiles.
"""

from collections.abc import Callable, Iterable, Sequence

from orchestrator.statistics import mean
from orchestrator.windows import covered_s
from workers.distribution import distribution
from workers.records import Distribution, InferenceMetrics, RawProcessResult

Repeat = Sequence[RawProcessResult]
"""The ranks of one run that have tokens of their own: of a tensor-parallel group only its first."""


_RATES = ("output_tokens_per_s", "prefill_tokens_per_s", "decode_tokens_per_s")
_LATENCIES = ("ttft", "itl", "tpot", "e2e")


def of_one_run(repeat: Repeat) -> InferenceMetrics:
    """The ranks of one run as one; raw times stay behind."""
    return _together([repeat])


def inference(repeats: Sequence[Repeat], runs: Sequence[InferenceMetrics]) -> InferenceMetrics:
    """All repeats of a cell as one, where `runs` are `of_one_run` of each."""
    if len(runs) == 1:
        return runs[0]
    whole = _together(repeats)
    rates = {name: mean(getattr(run, name) for run in runs) for name in _RATES}
    latencies = {name: _centred(getattr(whole, name), [getattr(run, name) for run in runs]) for name in _LATENCIES}
    return whole.model_copy(update=rates | latencies)


def _together(repeats: Sequence[Repeat]) -> InferenceMetrics:
    """All ranks of all repeats as if they were one run's: totals, and what follows from them."""
    every = [result for repeat in repeats for result in repeat]
    parts = [result.inference_metrics for result in every]
    total_s = sum(map(covered_s, repeats))
    generated = sum(part.generated_tokens for part in parts)
    prompts = sum(part.prompt_tokens for part in parts)
    ranks = len(every) / len(repeats)
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
        # Ranks prefill side by side: their times overlap, so the mean over ranks is the time that passed.
        prefill_tokens_per_s=prompts / (ttft_s / ranks) if ttft_s else None,
        decode_tokens_per_s=later_tokens / (later_s / ranks) if later_s else None,
        ttft=_pooled(every, lambda part: part.ttft_s),
        itl=_pooled(every, lambda part: (gap for gaps in part.itl_s for gap in gaps)),
        tpot=_pooled(every, lambda part: (sum(gaps) / len(gaps) for gaps in part.itl_s if gaps)),
        e2e=_pooled(every, lambda part: part.e2e_s),
        latency_reason=next((part.latency_reason for part in parts if part.latency_reason), None),
        time_uncertainty=max(
            (part.time_uncertainty for part in parts if part.time_uncertainty is not None), default=None
        ),
        timing_method=parts[0].timing_method,
    )


def _centred(pooled: Distribution | None, runs: Sequence[Distribution | None]) -> Distribution | None:
    """The distribution over all requests, with the mean over the repeats' own means."""
    return pooled and pooled.model_copy(update={"mean_s": mean(run.mean_s for run in runs if run)})


def _pooled(
    results: Iterable[RawProcessResult], times: Callable[[InferenceMetrics], Iterable[float]]
) -> Distribution | None:
    values: list[float] = []
    rows: list[int] = []
    for result in results:
        own = list(times(result.inference_metrics))
        values += own
        rows += [result.measured_batch_size] * len(own)
    return distribution(values, rows) if values else None
