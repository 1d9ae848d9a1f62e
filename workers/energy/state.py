"""The state of a card around a window: what held it back, how warm it was, who else was there."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from workers.energy.nvml import quietly
from workers.energy.system import Card


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One look at a card. Null where it does not say."""

    temperature_c: float | None
    power_limit_w: float | None
    pids: frozenset[int] | None
    violations: dict[str, int]
    clock_events: tuple[str, ...] | None
    sm_clock_mhz: float | None


@dataclass(frozen=True, kw_only=True)
class Fleeting:
    """What is only true at the moment that the work ends."""

    sm_clock_mhz: float | None
    clock_events: tuple[str, ...] | None


def fleeting(card: Card) -> Fleeting:
    """Read right after the window's end."""
    return Fleeting(sm_clock_mhz=quietly(card.sm_clock_mhz), clock_events=quietly(card.clock_events))


def snapshot(card: Card, moment: Fleeting | None = None) -> Snapshot:
    """Read what keeps."""
    moment = moment or fleeting(card)
    return Snapshot(
        temperature_c=quietly(card.temperature_c),
        power_limit_w=quietly(card.power_limit_w),
        pids=quietly(card.pids),
        violations=quietly(card.violations) or {},
        clock_events=moment.clock_events,
        sm_clock_mhz=moment.sm_clock_mhz,
    )


def throttling(before: Snapshot, after: Snapshot) -> tuple[bool | None, tuple[str, ...]]:
    """Whether the card was held back between two looks, and by what.

    The cumulative counters know of every moment in between. Without them the reason bits of the second look are left,
    which can prove throttling but never its absence: then the answer is null, not no.
    """
    both = before.violations.keys() & after.violations.keys()
    if both:
        causes = tuple(sorted(name for name in both if after.violations[name] > before.violations[name]))
        return bool(causes), causes
    causes = after.clock_events or ()
    return (True, causes) if causes else (None, ())


def foreign(before: Snapshot, after: Snapshot, own_pids: Collection[int]) -> int | None:
    """Processes on the card, before or after the window, that are not this run's; null where NVML cannot list them."""
    looks = [look.pids for look in (before, after) if look.pids is not None]
    return max(_strangers(pids, own_pids) for pids in looks) if looks else None


def _strangers(pids: frozenset[int], own_pids: Collection[int]) -> int:
    others = len(pids - set(own_pids))
    # In a container NVML lists the host's process ids. If this process computes on a card and none of the listed is its
    # own, then its own are among them under other numbers.
    renamed = len(own_pids) if others and not pids & set(own_pids) and _holds_cuda() else 0
    return max(0, others - renamed)


def _holds_cuda() -> bool:
    """Whether this process has a CUDA context: only that opens the unified-memory device."""
    try:
        return any(str(link.readlink()) == "/dev/nvidia-uvm" for link in Path("/proc/self/fd").iterdir())
    except OSError:  # a descriptor that closed meanwhile, or a system without /proc
        return False
