"""Energy of the host's processors and memory, from RAPL through Linux's powercap tree."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from workers.energy.system import MONOTONIC, Clock

POWERCAP = Path("/sys/class/powercap")
MAX_ZONE_W = 1000.0
"""No package or memory draws more. A counter that could wrap twice at this power gives no energy. Unit: W."""

Domain = Literal["cpu", "dram"]

HostReason = Literal["no_permission", "unreadable", "no_rapl", "no_dram_domain", "window_longer_than_counter"]
"""The values of `cpu_energy_reason` and `dram_energy_reason`."""


@dataclass(frozen=True, kw_only=True)
class Zone:
    """One counter: its file, and the value at which it wraps. Unit: uJ."""

    path: Path
    domain: Domain
    range_uj: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """All counters at one moment; for a domain that cannot be read, the reason."""

    at_s: float
    values_uj: dict[Zone, int]
    reasons: dict[Domain, HostReason]


def zones(root: Path = POWERCAP) -> list[Zone]:
    """The packages (`package-0`) and their memory (`dram`). Cores are part of a package and would count twice.

    Only `intel-rapl:*`, which AMD's processors have too: `intel-rapl-mmio:*` is the same package by another interface.
    """
    counters = []
    for folder in sorted(root.glob("intel-rapl:*")):
        try:
            name = (folder / "name").read_text().strip()
            range_uj = int((folder / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            continue
        if name.startswith("package"):
            counters.append(Zone(path=folder / "energy_uj", domain="cpu", range_uj=range_uj))
        elif name == "dram":
            counters.append(Zone(path=folder / "energy_uj", domain="dram", range_uj=range_uj))
    return counters


def read(root: Path = POWERCAP, clock: Clock = MONOTONIC) -> Reading:
    """Read every counter once. Never raises."""
    values: dict[Zone, int] = {}
    reasons: dict[Domain, HostReason] = {}
    at_s = clock.now_s()
    for zone in zones(root):
        try:
            values[zone] = int(zone.path.read_text())
        except PermissionError:
            reasons[zone.domain] = "no_permission"
        except (OSError, ValueError):
            reasons[zone.domain] = "unreadable"
    for domain in get_args(Domain):
        if not any(zone.domain == domain for zone in values):
            reasons.setdefault(domain, "no_rapl" if not root.is_dir() or domain == "cpu" else "no_dram_domain")
    return Reading(at_s=at_s, values_uj=values, reasons=reasons)


def between(start: Reading, end: Reading, domain: Domain) -> tuple[float | None, HostReason | None]:
    """Energy of one domain between two readings (J), or None and the reason. Counters may wrap once."""
    for reading in (start, end):
        if domain in reading.reasons:
            return None, reading.reasons[domain]
    total_uj = 0
    for zone, value in end.values_uj.items():
        if zone.domain != domain:
            continue
        if zone not in start.values_uj:
            return None, "unreadable"
        if (end.at_s - start.at_s) * MAX_ZONE_W * 1e6 >= zone.range_uj:
            return None, "window_longer_than_counter"
        total_uj += (value - start.values_uj[zone]) % (zone.range_uj + 1)
    return total_uj / 1e6, None
