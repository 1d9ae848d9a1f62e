"""Energy of the host's processors and memory, from RAPL through Linux's powercap tree."""

from dataclasses import dataclass
from pathlib import Path

from workers.energy.system import MONOTONIC, Clock

POWERCAP = Path("/sys/class/powercap")
MAX_ZONE_W = 1000.0
"""No package or memory draws more: a counter that this power would carry round twice says nothing. Unit: W."""


@dataclass(frozen=True, kw_only=True)
class Zone:
    """One counter: where it lies, and where it wraps round. Unit: uJ."""

    path: Path
    kind: str
    range_uj: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """All counters at one moment; for a kind that cannot be read, the reason."""

    at_s: float
    values_uj: dict[Zone, int]
    reasons: dict[str, str]


def zones(root: Path = POWERCAP) -> list[Zone]:
    """The packages (`package-0`) and their memory (`dram`). Their cores are a part of them and would count twice.

    Only `intel-rapl:*`, which AMD's processors have too: `intel-rapl-mmio:*` is the same package by another road.
    """
    found = []
    for folder in sorted(root.glob("intel-rapl:*")):
        try:
            name = (folder / "name").read_text().strip()
            span = int((folder / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            continue
        kind = "cpu" if name.startswith("package") else name
        if kind in ("cpu", "dram"):
            found.append(Zone(path=folder / "energy_uj", kind=kind, range_uj=span))
    return found


def read(root: Path = POWERCAP, clock: Clock = MONOTONIC) -> Reading:
    """Read every counter once. Never raises."""
    values: dict[Zone, int] = {}
    reasons: dict[str, str] = {}
    at_s = clock.now_s()
    for zone in zones(root):
        try:
            values[zone] = int(zone.path.read_text())
        except PermissionError:
            reasons[zone.kind] = "no_permission"
        except (OSError, ValueError):
            reasons[zone.kind] = "unreadable"
    for kind in ("cpu", "dram"):
        if not any(zone.kind == kind for zone in values):
            reasons.setdefault(kind, "no_rapl" if not root.is_dir() or kind == "cpu" else "no_dram_domain")
    return Reading(at_s=at_s, values_uj=values, reasons=reasons)


def between(start: Reading, end: Reading, kind: str) -> tuple[float | None, str | None]:
    """Energy of one kind (`cpu`, `dram`) between two readings (J), or null and why. Counters may wrap round once."""
    for reading in (start, end):
        if kind in reading.reasons:
            return None, reading.reasons[kind]
    total_uj = 0
    for zone, value in end.values_uj.items():
        if zone.kind != kind:
            continue
        if zone not in start.values_uj:
            return None, "unreadable"
        if (end.at_s - start.at_s) * MAX_ZONE_W * 1e6 >= zone.range_uj:
            return None, "window_longer_than_counter"
        total_uj += (value - start.values_uj[zone]) % (zone.range_uj + 1)
    return total_uj / 1e6, None
