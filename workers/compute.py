"""A window's FLOPs and memory: what an inference costs on paper, divided by what the clock says."""

from workers.records import ComputeMetrics, InferenceCost, InferenceMetrics, MemoryMethod


def compute_metrics(
    cost: InferenceCost | None,
    cost_reason: str | None,
    inference: InferenceMetrics,
    *,
    peak: tuple[float | None, MemoryMethod | None, str | None],
    model_memory_mb: float,
) -> ComputeMetrics:
    """Divide `cost` (of one generation of this rank) by tokens and time.

    `peak` is the window's peak memory in MB, who says so, and why there is none.
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
    return ComputeMetrics(
        flops=cost.flops,
        estimates=cost.estimates,
        parameters=cost.parameters,
        active_parameters=cost.active_parameters,
        flops_per_token=flops * inference.generations / inference.generated_tokens,
        flops_per_second=flops * inference.generations / inference.window_s,
        **memory,
    )
