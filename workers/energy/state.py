"""The state of a card around a window: throttling, temperature, other processes."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from workers.energy.nvml import or_none
from workers.energy.system import Card


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of a card at one moment. None for what the card does not report."""

    temperature_c: float | None
    power_limit_w: float | None
    pids: frozenset[int] | None
    violations: dict[str, int]
    clock_events: tuple[str, ...] | None
    sm_clock_mhz: float | None


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """The part of the state that changes as soon as the work ends."""

    sm_clock_mhz: float | None
    clock_events: tuple[str, ...] | None


def read_clocks(card: Card) -> Clocks:
    """Read the clocks; call it right after the window's end."""
    return Clocks(sm_clock_mhz=or_none(card.sm_clock_mhz), clock_events=or_none(card.clock_events))


def snapshot(card: Card, clocks: Clocks | None = None) -> Snapshot:
    """Read the state; `clocks` if they were read before."""
    clocks = clocks or read_clocks(card)
    return Snapshot(
        temperature_c=or_none(card.temperature_c),
        power_limit_w=or_none(card.power_limit_w),
        pids=or_none(card.pids),
        violations=or_none(card.violations) or {},
        clock_events=clocks.clock_events,
        sm_clock_mhz=clocks.sm_clock_mhz,
    )


def throttling(before: Snapshot, after: Snapshot) -> tuple[bool | None, tuple[str, ...]]:
    """Whether the card was throttled between two snapshots, and why.

    The cumulative counters cover every moment in between. Without them, the reason bits of the second snapshot can
    prove throttling but not its absence: the answer is then None, not False.
    """
    both = before.violations.keys() & after.violations.keys()
    if both:
        causes = tuple(sorted(name for name in both if after.violations[name] > before.violations[name]))
        return bool(causes), causes
    causes = after.clock_events or ()
    return (True, causes) if causes else (None, ())


def foreign(before: Snapshot, after: Snapshot, own_pids: Collection[int]) -> int | None:
    """Number of other runs' processes on the card, before or after the window; None if NVML cannot list them."""
    lists = [state.pids for state in (before, after) if state.pids is not None]
    return max(_count_foreign(pids, own_pids) for pids in lists) if lists else None


def _count_foreign(pids: frozenset[int], own_pids: Collection[int]) -> int:
    others = len(pids - set(own_pids))
    # In a container NVML lists the host's process ids. If this process uses a card but none of the listed ids is its
    # own, its processes are listed under other ids.
    renamed = len(own_pids) if others and not pids & set(own_pids) and _holds_cuda() else 0
    return max(0, others - renamed)


def _holds_cuda() -> bool:
    """Whether this process has a CUDA context, which opens the unified-memory device."""
    try:
        return any(str(link.readlink()) == "/dev/nvidia-uvm" for link in Path("/proc/self/fd").iterdir())
    except OSError:  # a descriptor that has just closed, or a system without /proc
        return False
