"""How long a run will take, roughly: a roofline over its cost on paper. Only the order of runs depends on it."""

from workers.records import Cell, InferenceCost

# A round card: what counts is which run is longer, not how long either is.
_FLOP_PER_S = 1e14
_BYTES_PER_S = 1e12
_PASS_S = 1e-2
"""Least time of one pass: small models wait for launches, not for arithmetic. Unit: s."""


def predicted_s(cell: Cell, cost: InferenceCost | None) -> float:
    """Predicted time of a run without loading: warm-up and window. Unit: s.

    Each generation is one prefill, bound by arithmetic, and output_tokens - 1 passes that read weights and cache.
    """
    generations = cell.warmup.floor + cell.window.min_generations
    if cost is None:
        return generations * cell.output_tokens * _PASS_S
    read_s = (cost.weight_memory_mb + (cost.kv_cache_mb or 0.0)) * 1e6 / _BYTES_PER_S
    one_s = cost.flops.value / _FLOP_PER_S + cell.output_tokens * max(read_s, _PASS_S)
    return generations * one_s
