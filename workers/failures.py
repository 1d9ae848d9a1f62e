"""Recognise exceptions that mean out of memory or a lost GPU or peer, by their messages.

They have no class of their own: each allocator raises another one, and CUDA, NCCL and gloo raise a plain RuntimeError
when a GPU or a peer is gone.
"""

import errno
from collections.abc import Iterator

from workers.records.errors import MeasureError, message

_OUT_OF_MEMORY = (
    "out of memory",  # CUDA's caching allocator and driver, also through accelerate and Triton
    "can't allocate memory",  # torch's DefaultCPUAllocator
    "not enough memory",  # the same allocator on other platforms
    "cublas_status_alloc_failed",  # cuBLAS cannot allocate its handle or workspace
    "cudnn_status_alloc_failed",
    "cusparse_status_alloc_failed",
)

_LOST = (
    # CUDA's sticky errors: the process's context is gone, and every later call fails (CUDA Runtime API, cudaError: "the
    # process must be terminated and relaunched").
    "illegal memory access",
    "illegal instruction",
    "misaligned address",
    "invalid program counter",
    "operation not supported on global/shared address space",
    "device-side assert",
    "hardware stack error",
    "unspecified launch failure",
    "launch timed out",
    "uncorrectable ecc error",
    "uncorrectable nvlink error",
    "cuda error: unknown error",
    # The card or its driver (XID 79: "GPU has fallen off the bus").
    "gpu is lost",
    "fallen off the bus",
    "no cuda-capable device",
    "busy or unavailable",
    "nvml_error_gpu_is_lost",
    # A peer of the gang: its process died, and this one sees only the closed connection.
    "nccl error",
    "ncclremoteerror",
    "ncclsystemerror",
    "nccl communicator was aborted",
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
)
"""Parts of the messages of torch, CUDA, NVML, NCCL and gloo when the GPU or a peer is gone."""


def is_out_of_memory(exc: BaseException | None) -> bool:
    """Whether `exc` or one of its causes means that the GPU or the host ran out of memory."""
    for each in _chain(exc):
        # torch.OutOfMemoryError is recognised by its name, without importing torch.
        if isinstance(each, MemoryError) or type(each).__name__ == "OutOfMemoryError":
            return True
        if isinstance(each, OSError) and each.errno == errno.ENOMEM:
            return True
        text = message(each).lower()
        if isinstance(each, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY):
            return True
    return False


def is_lost(exc: BaseException | None) -> bool:
    """Whether `exc` or one of its causes means that the GPU or a peer of the gang is gone.

    This process cannot measure any more; another process, perhaps on another node, may succeed.
    """
    return any(
        isinstance(each, RuntimeError | ConnectionError)
        and not isinstance(each, MeasureError)
        and any(words in message(each).lower() for words in _LOST)
        for each in _chain(exc)
    )


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    """An exception and its causes, each once."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        exc = exc.__cause__ or exc.__context__
