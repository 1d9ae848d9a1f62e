import pytest
import torch

from workers.failures import is_lost, is_out_of_memory
from workers.records.errors import ModelLoadError, PromptError


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
def test_the_messages_of_every_allocator_are_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: an illegal memory access"), ValueError("out of memory"), OSError("no such model")],
)
def test_other_failures_are_not_out_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_causes_in_a_cycle_do_not_loop_forever() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert not is_out_of_memory(first)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("Unable to determine the device handle for GPU0: 0000:01:00.0: GPU is lost."),
        RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:94, remote process exited or there was a network error"),
        RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1234"),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
)
def test_a_gpu_or_peer_that_is_gone_is_lost_and_not_out_of_memory(error: Exception) -> None:
    assert is_lost(error)
    assert not is_out_of_memory(error)


def test_a_model_that_did_not_load_because_the_gpu_is_gone_is_lost() -> None:
    error = ModelLoadError("model 'big' did not load")
    error.__cause__ = RuntimeError("CUDA error: an illegal memory access was encountered")
    assert is_lost(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        PromptError("prompts.jsonl: connection closed by peer is no prompt"),
        None,
    ],
)
def test_an_error_of_the_cell_itself_is_not_lost(error: Exception | None) -> None:
    assert not is_lost(error)
