"""A window's FLOPs and memory: what an inference costs on paper, divided by what the clock says."""

from typing import Any

from workers.flops import mbu, mfu
from workers.memory import Peak
from workers.records import ComputeMetrics, Dtype, InferenceCost, InferenceMetrics


def compute_metrics(
    cost: InferenceCost | None,
    cost_reason: str | None,
    inference: InferenceMetrics,
    *,
    compute: Dtype,
    cards: tuple[str, ...],
    split: int = 1,
    peak: Peak,
    model_memory_mb: float,
) -> ComputeMetrics:
    """Divide `cost` by tokens, time and what the cards could do.

    Args:
        cost: Of one generation of this rank; null with `cost_reason`.
        cost_reason: Why there is no `cost`.
        inference: The window's tokens and times.
        compute: The type that the products are computed in.
        cards: Names of the GPUs that this rank used; none on a CPU.
        split: Ranks, each with as many GPUs of that type, that share the work of `cost`: those of one split model.
        peak: The window's peak memory.
        model_memory_mb: Memory of the loaded parameters and buffers. Unit: MB.
    """
    peak_mb, memory_method, peak_reason = peak
    memory = {
        "peak_memory_mb": peak_mb,
        "peak_memory_reason": peak_reason,
        "memory_method": memory_method,
        "model_memory_mb": model_memory_mb,
    }
    if cost is None:
        return ComputeMetrics(flops_reason=cost_reason or "no FLOPs were counted for this cell", **memory)
    flops = cost.flops.value
    flops_per_second = flops * inference.generations / inference.window_s
    return ComputeMetrics(
        flops=cost.flops,
        estimates=cost.estimates,
        parameters=cost.parameters,
        active_parameters=cost.active_parameters,
        flops_per_token=flops * inference.generations / inference.generated_tokens,
        flops_per_second=flops_per_second,
        **_utilisation(cost, flops_per_second, inference, compute=compute, cards=cards * split),
        **memory,
    )


def _utilisation(
    cost: InferenceCost,
    flops_per_second: float,
    inference: InferenceMetrics,
    *,
    compute: Dtype,
    cards: tuple[str, ...],
) -> dict[str, Any]:
    """MFU and MBU, and where the peaks are from or why there are none."""
    reads = (cost.decode_weight_read_mb, cost.decode_cache_read_mb)
    read_bytes = None if None in reads else sum(mb for mb in reads if mb is not None) * 1e6
    seconds = inference.itl.mean_s if inference.itl else None
    computing = mfu(flops_per_second=flops_per_second, compute=compute, cards=cards)
    reading = mbu(read_bytes_per_pass=read_bytes, seconds_per_pass=seconds, cards=cards)
    return {
        "mfu": computing.value,
        "mbu": reading.value,
        "peak_source": "; ".join(dict.fromkeys((computing.source, reading.source))),
    }
