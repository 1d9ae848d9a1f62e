"""The hardware and software that a process measures with."""

import os
import platform
import socket
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch

from workers import energy
from workers.records import Environment

_MB = 1e6
_TOPOLOGY = Path("/sys/devices/system/cpu")


def gpu_uuid(index: int) -> str:
    """UUID of this process's CUDA device `index`, in NVML's format."""
    return f"GPU-{torch.cuda.get_device_properties(index).uuid}"


def gpu_names(gpus: Sequence[int]) -> tuple[str, ...]:
    """Names of these CUDA devices from NVML, which distinguishes SXM from PCIe; CUDA's name if NVML has none."""
    nvml_names = energy.card_names([gpu_uuid(index) for index in gpus])
    cuda_names = (torch.cuda.get_device_properties(index).name for index in gpus)
    return tuple(cuda if nvml == "unknown" else nvml for nvml, cuda in zip(nvml_names, cuda_names, strict=True))


def physical_cores() -> int:
    """Number of cores that this process may run on; hardware threads of one core count once."""
    threads = os.sched_getaffinity(0)
    siblings = {_read(_TOPOLOGY / f"cpu{thread}" / "topology" / "thread_siblings_list") for thread in threads}
    return len(siblings - {None}) or len(threads)


def describe(gpus: Sequence[int], *, quantiser: str | None = None) -> Environment:
    """Describe the host, the GPUs of these CUDA indices (empty: the CPU) and the packages.

    `quantiser` is the distribution that quantised the model, if any. The caller adds Ray's `node_id`.
    """
    gpu_bytes = [torch.cuda.get_device_properties(index).total_memory for index in gpus]
    host_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Environment(
        host=socket.gethostname(),
        device="cuda" if gpus else "cpu",
        gpu_names=gpu_names(gpus),
        gpu_uuids=tuple(map(gpu_uuid, gpus)),
        driver_version=energy.driver_version(),
        cuda_version=torch.version.cuda,
        cpu_name=_cpu_name(),
        cpu_threads=torch.get_num_threads(),
        memory_total_mb=memory_total_mb(gpu_bytes, host_bytes),
        platform=platform.platform(),
        python_version=platform.python_version(),
        torch_version=torch.__version__,
        transformers_version=metadata.version("transformers"),
        quantiser_version=f"{quantiser} {metadata.version(quantiser)}" if quantiser else None,
        joulegrid_version=_own_version(),
    )


def memory_total_mb(gpu_bytes: Sequence[int], host_bytes: int) -> float:
    """Memory of all GPUs together, or of the host without a GPU. Unit: MB (10^6 bytes)."""
    return (sum(gpu_bytes) if gpu_bytes else host_bytes) / _MB


def _own_version() -> str:
    try:
        return metadata.version("joulegrid")
    except metadata.PackageNotFoundError:  # Ray copies the source folder to nodes where it is not installed
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
