"""Every exception becomes a failure, whatever its message."""

import io
import os
import sys
import weakref
from collections.abc import Callable

import pytest

from workers.actor import MeasuringActor
from workers.records import Cell, ModelSpec, ProcessFailure, Reply, Run

RUN = Run(cell=Cell(model=ModelSpec(name="m", config={"model_type": "gpt2"}), precision="fp32"), repeat=0)


class Raises:
    """A measurer that raises the given exception."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def measure(self, *_: object, **__: object) -> None:
        raise self._error

    def changes(self) -> tuple[str, ...]:
        return ()


class Allocated:
    """Memory of a run."""


class FailsWithMemory:
    """A measurer whose run fails while it has allocated memory; `changes` reports whether it is still allocated."""

    def measure(self, *_: object, **__: object) -> None:
        allocated = Allocated()
        self._allocated = weakref.ref(allocated)
        raise RuntimeError("CUDA out of memory")

    def changes(self) -> tuple[str, ...]:
        return () if self._allocated() is None else ("memory",)


class NoMessageError(RuntimeError):
    def __str__(self) -> str:
        raise ValueError("this exception has no message")


def reply_of(backend: object) -> Reply:
    """The reply of an actor with this backend to a run."""
    return started(backend)()


def started(backend: object) -> Callable[[], Reply]:
    """A function that runs on an actor with this backend."""
    actor = MeasuringActor("fake", 0, 1, 1)
    actor.prepare({})
    actor._backend = backend  # type: ignore[assignment]
    return lambda: Reply.model_validate_json(actor.run(RUN.model_dump_json(), 1))


@pytest.fixture
def failure(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], ProcessFailure]:
    monkeypatch.setenv("HF_TOKEN", "sentinel-5ecret")

    def run(error: BaseException) -> ProcessFailure:
        result = reply_of(Raises(error)).result
        assert isinstance(result, ProcessFailure)
        return result

    return run


def test_invalid_utf8_in_a_message_is_escaped(
    failure: Callable[[BaseException], ProcessFailure],
) -> None:
    got = failure(RuntimeError(os.fsdecode(b"caf\xe9 is no file")))
    assert "caf\\xe9 is no file" in got.error_message
    assert "caf\\xe9 is no file" in (got.traceback or "")


def test_control_characters_in_a_message_are_escaped(failure: Callable[[BaseException], ProcessFailure]) -> None:
    got = failure(RuntimeError("\x1b]0;owned\x07 \x9b31m red\r over \u202e backwards"))
    assert got.error_message == r"\x1b]0;owned\x07 \x9b31m red over \u202e backwards"
    assert not {"\x1b", "\x9b", "\r", "\u202e"} & set(got.traceback or "")


def test_a_message_of_megabytes_keeps_its_beginning_and_its_end(
    failure: Callable[[BaseException], ProcessFailure],
) -> None:
    got = failure(RuntimeError(f"it began {'x' * 5_000_000} it ended"))
    assert len(got.error_message) <= 4_000
    assert got.error_message.startswith("it began xxx")
    assert got.error_message.endswith("xxx it ended")
    assert "characters left out" in got.error_message
    assert len(got.traceback or "") <= 64_000


def test_a_secret_is_hidden_before_a_long_message_is_cut(failure: Callable[[BaseException], ProcessFailure]) -> None:
    for length in range(2_600, 2_640):  # one of these messages is cut within the secret
        got = failure(RuntimeError("x" * length + "sentinel-5ecret" + "y" * 9_000))
        assert "sentinel" not in got.error_message
        assert "5ecret" not in got.error_message
        assert "sentinel-5ecret" not in (got.traceback or "")


def test_an_exception_whose_message_cannot_be_read_is_still_a_failure(
    failure: Callable[[BaseException], ProcessFailure],
) -> None:
    got = failure(NoMessageError())
    assert (got.error_type, got.error_message) == ("NoMessageError", "NoMessageError")


def test_model_code_that_calls_exit_fails_the_run_without_losing_the_process(
    failure: Callable[[BaseException], ProcessFailure],
) -> None:
    got = failure(SystemExit("no licence"))
    assert (got.status, got.error_type, got.error_message) == ("failed", "SystemExit", "no licence")


def test_the_memory_of_a_failed_run_is_released_before_its_process_is_checked() -> None:
    reply = reply_of(FailsWithMemory())
    assert isinstance(reply.result, ProcessFailure)
    assert (reply.result.status, reply.reusable, reply.changes) == ("oom", True, ())


class ClosesItsOutput(Raises):
    """A measurer whose model's code closes stdout."""

    def measure(self, *_: object, **__: object) -> None:
        sys.stdout.close()
        raise self._error


class FullDisk(io.StringIO):
    """A stream to a full disk."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_run_whose_output_cannot_be_written_still_ends_with_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, error in ((io.StringIO(), "closed"), (FullDisk(), "full")):
        monkeypatch.setattr(sys, "stdout", stream)
        run = started(ClosesItsOutput(RuntimeError(error)))
        for _ in range(2):  # the second starts with the streams as the first left them
            got = run().result
            assert isinstance(got, ProcessFailure)
        assert got.error_message in (error, "I/O operation on closed file")
