"""Memory of a model, peak memory of a window, and memory that is still allocated after it."""

import ctypes
import gc
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from workers.records import MemoryMethod

MB = 1e6
Peak = tuple[float | None, MemoryMethod | None, str | None]
"""A peak in MB, the method, and why it is missing."""

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets VmHWM, the peak resident set, to the current one (Linux 4.0 and later)


def model_bytes(model: Any) -> int:
    """Bytes of parameters and buffers as stored: tied ones once, quantised ones packed, with their scales."""
    storages: dict[tuple[str, int], int] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        for part in _parts(tensor):
            if part.device.type != "meta":
                storage = part.untyped_storage()
                storages[str(part.device), storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _parts(tensor: Any) -> Iterator[Any]:
    """The plain tensors that a parameter consists of."""
    if hasattr(tensor, "to_local"):  # a DTensor: this rank's shard
        yield from _parts(tensor.to_local())
    elif hasattr(tensor, "__tensor_flatten__"):  # a wrapper subclass (torchao): its own storage is empty
        for name in tensor.__tensor_flatten__()[0]:
            yield from _parts(getattr(tensor, name))
    else:
        yield tensor
        for value in _bitsandbytes_statistics(tensor):
            yield from _parts(value)


def _bitsandbytes_statistics(tensor: Any) -> Iterator[Any]:
    """The scales that bitsandbytes adds to its parameters: row maxima (int8), block maxima and code book (4 bits)."""
    state = getattr(tensor, "quant_state", None)
    candidates = [getattr(tensor, "SCB", None)]
    while state is not None:
        candidates += [state.absmax, state.code, getattr(state, "offset", None)]
        state = getattr(state, "state2", None)
    yield from (value for value in candidates if isinstance(value, torch.Tensor))


def gpus_of(model: Any) -> tuple[int, ...]:
    """CUDA indices of the GPUs that hold parameters of `model`, ascending; empty for a model on the CPU."""
    return tuple(sorted({tensor.device.index for tensor in model.parameters() if tensor.device.type == "cuda"}))


class PeakMemory:
    """Peak memory between `begin()` and `end()`, on the GPUs of these CUDA indices (empty: on the host)."""

    def __init__(self, gpus: Sequence[int]) -> None:
        self._gpus = gpus
        self._reset_error: str | None = None

    def begin(self) -> None:
        """Reset the peak."""
        for index in self._gpus:
            torch.cuda.reset_peak_memory_stats(index)
        if not self._gpus:
            try:
                _CLEAR_REFS.write_text(_RESET_PEAK)
            except OSError as error:
                self._reset_error = f"this process cannot reset its peak resident set ({error.strerror})"

    def end(self) -> Peak:
        """The peak: the sum over the GPUs, or the process's resident set."""
        if self._gpus:
            return sum(map(torch.cuda.max_memory_allocated, self._gpus)) / MB, "cuda_allocator", None
        if self._reset_error:
            return None, None, self._reset_error
        peak = _status_bytes("VmHWM")
        if peak is None:
            return None, None, f"{_STATUS} has no VmHWM"
        return peak / MB, "process_rss", None


def resident_bytes() -> int | None:
    """The process's resident set; None if unknown."""
    return _status_bytes("VmRSS")


def trim() -> None:
    """Return freed memory that glibc caches to the host, as it would add to the next peak."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only in glibc
    if malloc_trim is not None:
        malloc_trim(0)


def _status_bytes(field: str) -> int | None:
    """A size from this process's status in proc(5); None if the system has no such field."""
    try:
        match = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def allocated_bytes() -> int:
    """Bytes of live tensors on this process's GPUs, after garbage collection; 0 without a GPU."""
    if not torch.cuda.is_initialized():
        return 0
    gc.collect()
    torch.cuda.synchronize()
    # cuBLAS keeps its workspace in the same allocator, and there is no public way to free it.
    torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001 - see above
    torch.cuda.empty_cache()
    return sum(torch.cuda.memory_allocated(index) for index in range(torch.cuda.device_count()))
