"""FLOPs and memory of several processes and repeats as one.

FLOPs add up over data-parallel ranks; repeats compute the same again, so one repeat's FLOPs are the cell's. Confidence
is the lowest of the parts, and the method is that part's. Memory is a maximum per GPU: what a card must have.
"""

from collections.abc import Callable, Sequence
from typing import get_args

from orchestrator.aggregate.inference import Repeat, window_s
from workers.records import ComputeMetrics, Confidence, FlopsEstimates, FlopsResult, RawProcessResult

_ORDER: tuple[str, ...] = get_args(Confidence)


def compute(repeats: Sequence[Repeat], *, every_rank: Sequence[RawProcessResult]) -> ComputeMetrics:
    """All repeats of a cell as one.

    Args:
        repeats: The ranks of each repeat that have FLOPs of their own.
        every_rank: All processes of all repeats, for their memory.
    """
    parts = [[rank.compute_metrics for rank in repeat] for repeat in repeats]
    flops = [_sum_over_ranks(part) for part in parts]
    known = [one for one in flops if one is not None]
    verdict = min(known, key=lambda one: _ORDER.index(one.confidence)) if known else None
    first = parts[0][0]
    per_inference = tokens_per_inference(repeats[0])
    memories = [rank.compute_metrics for rank in every_rank]
    seconds = sum(map(window_s, repeats))
    return ComputeMetrics(
        flops=verdict,
        flops_reason=None
        if verdict
        else next((p.flops_reason for part in parts for p in part if p.flops_reason), None),
        estimates=_estimates([part.estimates for part in parts[0]]),
        parameters=first.parameters,
        active_parameters=first.active_parameters,
        flops_per_token=verdict.value / per_inference if verdict and per_inference else None,
        flops_per_second=_total_flops(repeats) / seconds if verdict and seconds else None,
        mfu=_mean(repeats, lambda part: part.mfu),
        mbu=_mean(repeats, lambda part: part.mbu),
        peak_source=first.peak_source,
        peak_memory_mb=max((m.peak_memory_mb for m in memories if m.peak_memory_mb is not None), default=None),
        peak_memory_reason=next((m.peak_memory_reason for m in memories if m.peak_memory_reason), None),
        model_memory_mb=max((m.model_memory_mb for m in memories if m.model_memory_mb is not None), default=None),
        memory_method=first.memory_method,
    )


def _sum_over_ranks(parts: Sequence[ComputeMetrics]) -> FlopsResult | None:
    flops = [part.flops for part in parts if part.flops is not None]
    if len(flops) < len(parts):  # a sum that lacks a part is a wrong number
        return None
    lowest = min(flops, key=lambda one: _ORDER.index(one.confidence))
    return lowest.model_copy(update={"value": sum(one.value for one in flops)})


def _estimates(ranks: Sequence[FlopsEstimates]) -> FlopsEstimates:
    """Every estimator's sum over the ranks; null where one rank has none."""
    names = ("calflops", "architecture", "parameter_estimate", "dispatcher")
    values = {name: [getattr(rank, name) for rank in ranks] for name in names}
    sums = {name: None if None in parts else sum(parts) for name, parts in values.items()}
    return ranks[0].model_copy(update=sums)


def _total_flops(repeats: Sequence[Repeat]) -> float:
    return sum(
        rank.compute_metrics.flops.value * rank.inference_metrics.generations
        for repeat in repeats
        for rank in repeat
        if rank.compute_metrics.flops
    )


def tokens_per_inference(ranks: Repeat) -> float:
    """Tokens that one inference of the whole batch generates, over the ranks that have tokens of their own."""
    tokens = [rank.inference_metrics for rank in ranks]
    return sum(one.generated_tokens / one.generations for one in tokens if one.generations)


def _mean(repeats: Sequence[Repeat], value: Callable[[ComputeMetrics], float | None]) -> float | None:
    """Utilisation over ranks and repeats, each weighted by its window; null where one is unknown."""
    ranks = [rank for repeat in repeats for rank in repeat]
    values = [value(rank.compute_metrics) for rank in ranks]
    known = [one for one in values if one is not None]
    if len(known) < len(ranks):
        return None
    seconds = [rank.inference_metrics.window_s for rank in ranks]
    return sum(one * s for one, s in zip(known, seconds, strict=True)) / sum(seconds)
