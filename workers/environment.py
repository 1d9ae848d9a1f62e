"""Where and with what a process measures."""

import os
import platform
import socket
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch

from workers import energy
from workers.memory import MB
from workers.records import Environment

_TOPOLOGY = Path("/sys/devices/system/cpu")


def gpu_uuid(index: int) -> str:
    """UUID of this process's CUDA device `index`, as NVML spells it."""
    return f"GPU-{torch.cuda.get_device_properties(index).uuid}"


def gpu_names(gpus: Sequence[int]) -> tuple[str, ...]:
    """Names of these CUDA devices as NVML has them, which tells SXM from PCIe; CUDA's own where NVML knows none."""
    named = energy.card_names([gpu_uuid(index) for index in gpus])
    cuda = (torch.cuda.get_device_properties(index).name for index in gpus)
    return tuple(ours if name == "unknown" else name for name, ours in zip(named, cuda, strict=True))


def physical_cores() -> int:
    """Cores that this process may run on; two hardware threads of a core are one."""
    threads = os.sched_getaffinity(0)
    siblings = {_read(_TOPOLOGY / f"cpu{thread}" / "topology" / "thread_siblings_list") for thread in threads}
    return len(siblings - {None}) or len(threads)


def describe(gpus: Sequence[int], *, quantiser: str | None = None) -> Environment:
    """The host, the GPUs of these CUDA indices (none: the CPU) and the packages.

    `quantiser` is the distribution that quantised the model, if any. `node_id` is Ray's to add.
    """
    cards = [torch.cuda.get_device_properties(index) for index in gpus]
    host_memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Environment(
        host=socket.gethostname(),
        device="cuda" if cards else "cpu",
        gpu_names=gpu_names(gpus),
        gpu_uuids=tuple(map(gpu_uuid, gpus)),
        driver_version=energy.driver_version(),
        cuda_version=torch.version.cuda,
        cpu_name=_cpu_name(),
        cpu_threads=torch.get_num_threads(),
        memory_total_mb=(cards[0].total_memory if cards else host_memory) / MB,
        platform=platform.platform(),
        python_version=platform.python_version(),
        torch_version=torch.__version__,
        transformers_version=metadata.version("transformers"),
        quantiser_version=f"{quantiser} {metadata.version(quantiser)}" if quantiser else None,
        joulegrid_version=_own_version(),
    )


def _own_version() -> str:
    try:
        return metadata.version("joulegrid")
    except metadata.PackageNotFoundError:  # Ray ships the source folder to nodes where nothing is installed
        return "not installed"


def _cpu_name() -> str | None:
    text = _read(Path("/proc/cpuinfo")) or ""
    names = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    return next(names, None) or platform.processor() or None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
