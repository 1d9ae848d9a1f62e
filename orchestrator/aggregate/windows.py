"""The windows of a run's ranks on one time axis. Pure.

The ranks wait at a barrier before their windows open. Each rank reports the time from the barrier to the start of its
window, by its own monotonic clock. All ranks leave the barrier within a network round trip, so these times are
comparable between hosts. Wall clocks of different hosts are not, and are never compared.
"""

from collections.abc import Sequence
from typing import NamedTuple

from workers.records import RawProcessResult

BARRIER_S = 0.25
"""Ranks leave the barrier within this time of each other, even on busy hosts. Unit: s."""


class Interval(NamedTuple):
    """The window of a rank on the time axis of its run. Unit: s."""

    start_s: float
    end_s: float


def intervals(ranks: Sequence[RawProcessResult]) -> list[Interval]:
    """The window of each rank.

    Journals of older versions lack the time since the barrier. For them, ranks of one host use the wall clock, and
    ranks of several hosts are assumed to have opened their windows together.
    """
    opened = [rank.window_opened_after_barrier_s for rank in ranks]
    if None in opened and _on_one_host(ranks):
        return [Interval(rank.window_start_unix_s, rank.window_end_unix_s) for rank in ranks]
    starts = [0.0 if None in opened else start_s or 0.0 for start_s in opened]
    durations = [rank.inference_metrics.window_s for rank in ranks]
    return [Interval(start_s, start_s + duration_s) for start_s, duration_s in zip(starts, durations, strict=True)]


def covered_s(ranks: Sequence[RawProcessResult]) -> float:
    """Time that the windows cover, counting overlaps once. Unit: s."""
    if len(ranks) == 1:
        return ranks[0].inference_metrics.window_s
    total, end = 0.0, float("-inf")
    for interval in sorted(intervals(ranks)):
        total += max(0.0, interval.end_s - max(end, interval.start_s))
        end = max(end, interval.end_s)
    return total


def wall_clocks_agree(ranks: Sequence[RawProcessResult]) -> bool:
    """Whether the ranks' wall clocks agreed when they left the barrier; always true on one host."""
    if _on_one_host(ranks):
        return True
    at_barrier = [rank.window_start_unix_s - (rank.window_opened_after_barrier_s or 0.0) for rank in ranks]
    return max(at_barrier) - min(at_barrier) <= BARRIER_S


def _on_one_host(ranks: Sequence[RawProcessResult]) -> bool:
    return len({rank.environment.node_id or rank.environment.host for rank in ranks}) == 1
