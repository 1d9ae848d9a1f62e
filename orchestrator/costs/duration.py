"""A rough duration of each run, which only the order of runs depends on: a roofline over its cost.

The lower bound that `plan` prints is another figure: `orchestrator.costs.forecast.Forecast.predicted_s`.
"""

import math

from workers.records import Cell, InferenceCost

# A typical card, in round numbers: only the order of durations matters.
_FLOP_PER_S = 1e14
_BYTES_PER_S = 1e12
_LOADED_BYTES_PER_S = 1e9
_PASS_S = 1e-2
"""Minimum time of one pass: small models are bound by kernel launches. Unit: s."""


def rough_run_s(cell: Cell, cost: InferenceCost | None) -> float:
    """Rough time of a run without loading: warm-up, window and perplexity. Unit: s.

    Each generation is one prefill, bound by arithmetic, and one pass per output token that reads weights and cache; the
    ranks that split a model share both. The window starts no generation after `max_s`.
    """
    one_s = _generation_s(cell, cost)
    window_s = min(cell.window.min_generations * one_s, cell.window.max_s + one_s)
    passes = 0.0 if cell.quality is None else cell.quality.max_tokens / cell.quality.stride_tokens
    return cell.warmup.floor * one_s + window_s + passes * _PASS_S


def _generation_s(cell: Cell, cost: InferenceCost | None) -> float:
    if cost is None:
        return cell.output_tokens * _PASS_S
    read_s = (cost.weight_memory_mb + (cost.kv_cache_mb or 0.0)) * 1e6 / _BYTES_PER_S / cell.tensor_parallel
    return cost.flops.value / _FLOP_PER_S / cell.tensor_parallel + cell.output_tokens * max(read_s, _PASS_S)


def rough_load_s(cost: InferenceCost | None) -> float:
    """Rough time to load the model; infinite if its size is unknown. Unit: s."""
    return math.inf if cost is None else cost.weight_memory_mb * 1e6 / _LOADED_BYTES_PER_S
