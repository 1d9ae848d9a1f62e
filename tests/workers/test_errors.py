import pytest
import torch

from workers.errors import ModelLoadError, is_out_of_memory


def test_a_cpu_allocation_that_fails_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert is_out_of_memory(caught.value)


def test_an_exception_raised_from_out_of_memory_is_out_of_memory() -> None:
    def load_a_model_that_is_too_large() -> None:
        try:
            torch.empty(1 << 50)
        except RuntimeError as cause:
            raise ModelLoadError("model 'big' did not load") from cause

    with pytest.raises(ModelLoadError) as caught:
        load_a_model_that_is_too_large()
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_every_allocator_has_its_own_words(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: an illegal memory access"), ValueError("out of memory"), OSError("no such model")],
)
def test_other_failures_are_not_out_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_a_circle_of_causes_ends() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert not is_out_of_memory(first)
