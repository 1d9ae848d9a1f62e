"""RAPL, on a powercap tree of real files."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from workers.energy import EnergyMeter, rapl

T = TypeVar("T")


def zone(root: Path, folder: str, name: str, energy_uj: int, span_uj: int = 262_143_328_850) -> Path:
    (root / folder).mkdir(parents=True)
    (root / folder / "name").write_text(f"{name}\n")
    (root / folder / "max_energy_range_uj").write_text(f"{span_uj}\n")
    (root / folder / "energy_uj").write_text(f"{energy_uj}\n")
    return root / folder / "energy_uj"


def test_packages_and_memory_add_up_over_sockets_without_counting_cores_twice(tmp_path: Path) -> None:
    files = [
        zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000),
        zone(tmp_path, "intel-rapl:1", "package-1", 2_000_000),
        zone(tmp_path, "intel-rapl:0:0", "core", 500_000),
        zone(tmp_path, "intel-rapl:0:1", "dram", 100_000),
        zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1_000_000),
        zone(tmp_path, "intel-rapl:2", "psys", 9_000_000),
    ]
    start = rapl.read(tmp_path)
    for file in files:
        file.write_text(str(int(file.read_text()) + 3_000_000))
    end = rapl.read(tmp_path)
    assert rapl.between(start, end, "cpu") == (6.0, None)
    assert rapl.between(start, end, "dram") == (3.0, None)


def test_a_counter_that_wraps_continues_from_zero(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000_000, span_uj=9_999_999_999)
    start = rapl.read(tmp_path)
    file.write_text("1000000000")
    assert rapl.between(start, rapl.read(tmp_path), "cpu") == (2000.0, None)


def test_a_window_in_which_a_counter_may_have_wrapped_twice_is_null(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0, span_uj=5_000_000_000)
    start = rapl.read(tmp_path)
    late = rapl.Reading(at_s=start.at_s + 6, values_uj=start.values_uj, reasons=start.reasons)
    assert rapl.between(start, late, "cpu") == (None, "window_longer_than_counter")


def test_a_host_without_powercap_is_null_with_its_reason(tmp_path: Path) -> None:
    reading = rapl.read(tmp_path / "missing")
    assert rapl.between(reading, reading, "cpu") == (None, "no_rapl")
    assert rapl.between(reading, reading, "dram") == (None, "no_rapl")


def test_packages_without_a_memory_domain_leave_the_memory_null(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    reading = rapl.read(tmp_path)
    assert rapl.between(reading, reading, "dram") == (None, "no_dram_domain")


def test_a_counter_that_only_root_may_read_is_null_with_its_reason() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = zone(Path(folder), "intel-rapl:0", "package-0", 0)
        file.chmod(0)
        Path(folder).chmod(0o755)
        reading = as_nobody(lambda: rapl.read(Path(folder)))
    assert rapl.between(reading, reading, "cpu") == (None, "no_permission")


def as_nobody(call: Callable[[], T]) -> T:
    """Call as an unprivileged user: root may read everything."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        return call()
    finally:
        os.seteuid(own)


def test_a_counter_without_a_number_is_null_with_its_reason(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0).write_text("soon\n")
    reading = rapl.read(tmp_path)
    assert rapl.between(reading, reading, "cpu") == (None, "unreadable")


def test_a_meter_without_gpus_still_reads_the_host(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    meter = EnergyMeter([], powercap=tmp_path)
    meter.begin()
    file.write_text("43000000")
    record = meter.end()
    assert record.cpu_energy_j == 42.0
    assert record.energy_method == "rapl"
    assert record.gpu_energy_j is None
    assert record.dram_energy_reason == "no_dram_domain"
