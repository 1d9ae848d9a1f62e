"""When the ranks of one run measured, on one axis. Pure.

The ranks wait at a barrier before their windows open. Each reports how long after it its own window opened, by its own
monotonic clock: since all ranks leave the barrier within a network round trip, these times compare between hosts. Wall
clocks of two hosts do not, and are never compared.
"""

from collections.abc import Sequence
from typing import NamedTuple

from workers.records import RawProcessResult

BARRIER_S = 0.25
"""Ranks leave the barrier this close together, even on busy hosts. Unit: s."""


class Interval(NamedTuple):
    """A rank's window, from one moment to another on the axis of its run. Unit: s."""

    start_s: float
    end_s: float


def intervals(ranks: Sequence[RawProcessResult]) -> list[Interval]:
    """Each rank's window.

    Journals of older versions do not have the time since the barrier: there the wall clock stands in among ranks of one
    host, and ranks of several hosts are taken to have opened their windows together.
    """
    opened = [rank.window_opened_after_barrier_s for rank in ranks]
    if None in opened and _on_one_host(ranks):
        return [Interval(rank.window_start_unix_s, rank.window_end_unix_s) for rank in ranks]
    starts = [0.0 if None in opened else start_s or 0.0 for start_s in opened]
    durations = [rank.inference_metrics.window_s for rank in ranks]
    return [Interval(start_s, start_s + duration_s) for start_s, duration_s in zip(starts, durations, strict=True)]


def covered_s(ranks: Sequence[RawProcessResult]) -> float:
    """Time that the windows cover together. Unit: s."""
    if len(ranks) == 1:
        return ranks[0].inference_metrics.window_s
    total, end = 0.0, float("-inf")
    for interval in sorted(intervals(ranks)):
        total += max(0.0, interval.end_s - max(end, interval.start_s))
        end = max(end, interval.end_s)
    return total


def wall_clocks_agree(ranks: Sequence[RawProcessResult]) -> bool:
    """Whether the ranks' wall clocks showed the same when the barrier let them go; those of one host are one."""
    if _on_one_host(ranks):
        return True
    at_barrier = [rank.window_start_unix_s - (rank.window_opened_after_barrier_s or 0.0) for rank in ranks]
    return max(at_barrier) - min(at_barrier) <= BARRIER_S


def _on_one_host(ranks: Sequence[RawProcessResult]) -> bool:
    return len({rank.environment.node_id or rank.environment.host for rank in ranks}) == 1
