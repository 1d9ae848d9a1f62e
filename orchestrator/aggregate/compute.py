"""Combines FLOPs and memory over ranks and repeats.

FLOPs add up over data-parallel ranks. Repeats compute the same, so the FLOPs of any repeat are those of the cell, and a
repeat without FLOPs changes nothing. The confidence is the lowest of the parts, with the method of that part. Memory is
the maximum over GPUs (what a GPU must have), averaged over the repeats. A sum or maximum that lacks a rank is null,
with that rank's reason.
"""

from collections.abc import Sequence
from typing import get_args

from orchestrator.aggregate.inference import Repeat
from orchestrator.aggregate.spread import mean
from workers.records import (
    ComputeMetrics,
    Confidence,
    FlopsEstimates,
    FlopsResult,
    InferenceMetrics,
)

_ORDER: tuple[str, ...] = get_args(Confidence)


def compute(repeats: Sequence[Repeat], *, every_rank: Sequence[Repeat], inference: InferenceMetrics) -> ComputeMetrics:
    """Combine the repeats of a cell.

    Args:
        repeats: The ranks of each repeat that have their own FLOPs.
        every_rank: All ranks of each repeat, for their memory.
        inference: The combined tokens and times of `repeats`.
    """
    parts = [[rank.compute_metrics for rank in repeat] for repeat in repeats]
    sums = [(total, part) for part in parts if (total := _sum_over_ranks(part)) is not None]
    flops, counted = min(sums, key=lambda pair: _ORDER.index(pair[0].confidence), default=(None, parts[0]))
    per_inference = tokens_per_inference(repeats[0])
    per_token = flops.value / per_inference if flops and per_inference else None
    per_second = None if per_token is None else per_token * inference.output_tokens_per_s
    memories = [rank.compute_metrics for repeat in every_rank for rank in repeat]
    peaks = [peak_memory_mb(repeat) for repeat in every_rank]
    return ComputeMetrics(
        flops=flops,
        flops_reason=None if flops else next((p.flops_reason for part in parts for p in part if p.flops_reason), None),
        estimates=_estimates([part.estimates for part in counted]),
        parameters=counted[0].parameters,
        active_parameters=counted[0].active_parameters,
        flops_per_token=per_token,
        flops_per_second=per_second,
        mfu=_mfu(per_second, counted),
        mbu=mean(map(_mbu, repeats)),
        peak_source=counted[0].peak_source,
        peak_memory_mb=None if None in peaks else mean(peaks),
        peak_memory_reason=next((m.peak_memory_reason for m in memories if m.peak_memory_reason), None),
        model_memory_mb=_largest([memory.model_memory_mb for memory in memories]),
        memory_method=next((memory.memory_method for memory in memories if memory.memory_method), None),
    )


def _sum_over_ranks(parts: Sequence[ComputeMetrics]) -> FlopsResult | None:
    flops = [part.flops for part in parts if part.flops is not None]
    if len(flops) < len(parts):  # a sum without one rank would be wrong
        return None
    lowest = min(flops, key=lambda one: _ORDER.index(one.confidence))
    return lowest.model_copy(update={"value": sum(one.value for one in flops)})


def _mfu(flops_per_second: float | None, ranks: Sequence[ComputeMetrics]) -> float | None:
    """The FLOP/s of the row over the peak of all GPUs, which follows from the FLOP/s and MFU of each rank."""
    if flops_per_second is None or not all(rank.flops_per_second and rank.mfu for rank in ranks):
        return None
    return flops_per_second / sum((rank.flops_per_second or 0.0) / (rank.mfu or 1.0) for rank in ranks)


def _estimates(ranks: Sequence[FlopsEstimates]) -> FlopsEstimates:
    """The sum of each estimator over the ranks; null if a rank has no estimate."""
    names = ("calflops", "architecture", "parameter_estimate", "dispatcher")
    values = {name: [getattr(rank, name) for rank in ranks] for name in names}
    sums = {name: None if None in parts else sum(parts) for name, parts in values.items()}
    failures = {name: why for rank in reversed(ranks) for name, why in rank.failures.items()}
    return FlopsEstimates(**sums, failures=failures)


def peak_memory_mb(ranks: Repeat) -> float | None:
    """The highest peak among the ranks of a run; null if one is unknown. Unit: MB."""
    return _largest([rank.compute_metrics.peak_memory_mb for rank in ranks])


def _largest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None


def tokens_per_inference(ranks: Repeat) -> float:
    """Tokens that one inference of the whole batch generates, over the ranks that have their own tokens."""
    tokens = [rank.inference_metrics for rank in ranks]
    return sum(one.generated_tokens / one.generations for one in tokens if one.generations)


def _mbu(ranks: Repeat) -> float | None:
    """Bandwidth utilisation of a run, each rank weighted by its window; null if one is unknown."""
    known = [(one, rank.inference_metrics.window_s) for rank in ranks if (one := rank.compute_metrics.mbu) is not None]
    if len(known) < len(ranks):
        return None
    return sum(one * seconds for one, seconds in known) / sum(seconds for _, seconds in known)
