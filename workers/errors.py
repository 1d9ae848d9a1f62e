"""What can go wrong beside the GPU, as exceptions.

    MeasureError              anything below; its message names the place, the value and what would be right
    ├── ModelLoadError        the model could not be found, built or quantised
    ├── UnsupportedError      this hardware or library cannot do what the cell asks for
    ├── EstimateError         what the model costs could not be counted
    ├── PromptError           there are no prompts of the asked shape
    └── GenerationError       `generate` made another number of tokens than the cell asks for

Whatever else torch or transformers raise goes through unchanged. Out of memory is no class of its own, because every
allocator has its own: `is_out_of_memory` knows them. Nor is a GPU or a peer that is gone: `is_lost` knows their words.
"""

import errno
from collections.abc import Iterator

from workers.records import text

_ALLOCATORS_LAST_WORDS = (
    "out of memory",  # CUDA's caching allocator and driver, also through accelerate and Triton
    "can't allocate memory",  # torch's DefaultCPUAllocator
    "not enough memory",  # the same allocator on other platforms
    "cublas_status_alloc_failed",  # cuBLAS found no room for its handle or workspace
    "cudnn_status_alloc_failed",
    "cusparse_status_alloc_failed",
)

_LOST_WORDS = (
    # CUDA's sticky errors: the process's context is gone, and all that it does afterwards fails (CUDA Runtime API,
    # cudaError: "the process must be terminated and relaunched").
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
    # A peer of the gang: its process died, and ours only heard the line go dead.
    "nccl error",
    "ncclremoteerror",
    "ncclsystemerror",
    "nccl communicator was aborted",
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
)
"""What torch, CUDA, NVML, NCCL and gloo say when the card or a peer is gone, rather than the cell wrong."""


class MeasureError(RuntimeError):
    """A cell could not be measured."""


class ModelLoadError(MeasureError):
    """The model could not be found, built or quantised."""


class UnsupportedError(MeasureError):
    """This hardware or library cannot do what the cell asks for."""


class EstimateError(MeasureError):
    """What the model costs could not be counted; measuring it may go well all the same."""


class PromptError(MeasureError):
    """There are no prompts of the asked shape."""


class GenerationError(MeasureError):
    """`generate` made another number of tokens than the cell asks for."""


def is_out_of_memory(exc: BaseException | None) -> bool:
    """Whether `exc`, or what it was raised from, says that memory ran out, on the GPU or on the host."""
    for each in _chain(exc):
        # torch.OutOfMemoryError is known by its name, so that asking does not import torch.
        if isinstance(each, MemoryError) or type(each).__name__ == "OutOfMemoryError":
            return True
        if isinstance(each, OSError) and each.errno == errno.ENOMEM:
            return True
        said = message(each).lower()
        if isinstance(each, RuntimeError) and any(words in said for words in _ALLOCATORS_LAST_WORDS):
            return True
    return False


def is_lost(exc: BaseException | None) -> bool:
    """Whether `exc`, or what it was raised from, says that the GPU or a peer of the gang is gone.

    Another process, perhaps elsewhere, may do better; this one is fit for nothing more.
    """
    return any(
        isinstance(each, RuntimeError | ConnectionError)
        and not isinstance(each, MeasureError)
        and any(words in message(each).lower() for words in _LOST_WORDS)
        for each in _chain(exc)
    )


_LISTS = " Model type should be one of"
"""What transformers says before it lists the hundreds of models that would do."""


def one_line(error: BaseException) -> str:
    """An exception in one line: its class and what it says, without the list that transformers ends with."""
    said, listed, _ = text.one_line(message(error)).partition(_LISTS)
    hint = " Only causal language models are measured." if listed else ""
    return f"{type(error).__name__}: {text.shortened(said, 500)}{hint}"


def message(error: BaseException) -> str:
    """What an exception says, as it is; its class where it says nothing, or fails to."""
    try:
        return str(error) or type(error).__name__
    except Exception:
        return type(error).__name__


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it was raised from, each once."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        exc = exc.__cause__ or exc.__context__
