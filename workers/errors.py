"""What can go wrong beside the GPU, as exceptions.

    MeasureError              anything below; its message names the place, the value and what would be right
    ├── ModelLoadError        the model could not be found, built or quantised
    ├── UnsupportedError      this hardware or library cannot do what the cell asks for
    ├── PromptError           there are no prompts of the asked shape
    └── GenerationError       `generate` made another number of tokens than the cell asks for

Whatever else torch or transformers raise goes through unchanged. Out of memory is no class of its own, because every
allocator has its own: `is_out_of_memory` knows them.
"""

import errno

_ALLOCATORS_LAST_WORDS = (
    "out of memory",  # CUDA's caching allocator and driver, also through accelerate and Triton
    "can't allocate memory",  # torch's DefaultCPUAllocator
    "not enough memory",  # the same allocator on other platforms
    "cublas_status_alloc_failed",  # cuBLAS found no room for its handle or workspace
    "cudnn_status_alloc_failed",
    "cusparse_status_alloc_failed",
)


class MeasureError(RuntimeError):
    """A cell could not be measured."""


class ModelLoadError(MeasureError):
    """The model could not be found, built or quantised."""


class UnsupportedError(MeasureError):
    """This hardware or library cannot do what the cell asks for."""


class PromptError(MeasureError):
    """There are no prompts of the asked shape."""


class GenerationError(MeasureError):
    """`generate` made another number of tokens than the cell asks for."""


def is_out_of_memory(exc: BaseException | None) -> bool:
    """Whether `exc`, or what it was raised from, says that memory ran out, on the GPU or on the host."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        # torch.OutOfMemoryError is known by its name, so that asking does not import torch.
        if isinstance(exc, MemoryError) or type(exc).__name__ == "OutOfMemoryError":
            return True
        if isinstance(exc, OSError) and exc.errno == errno.ENOMEM:
            return True
        text = str(exc).lower()
        if isinstance(exc, RuntimeError) and any(words in text for words in _ALLOCATORS_LAST_WORDS):
            return True
        exc = exc.__cause__ or exc.__context__
    return False
