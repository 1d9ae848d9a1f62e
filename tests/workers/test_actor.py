"""An exception becomes a failure, whatever it says."""

import io
import os
import sys
import weakref
from collections.abc import Callable

import pytest

from workers.actor import MeasuringActor
from workers.records import Cell, ModelSpec, ProcessFailure, Run

RUN = Run(cell=Cell(model=ModelSpec(name="m", config={"model_type": "gpt2"}), precision="fp32"), repeat=0)


class Raises:
    """A measurer that fails as it is told."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def measure(self, *_: object, **__: object) -> None:
        raise self._error

    def changes(self) -> tuple[str, ...]:
        return ()


class Allocated:
    """What a run has in memory."""


class Keeps:
    """A measurer whose run fails while it has something in memory; it says whether that is still there."""

    def measure(self, *_: object, **__: object) -> None:
        allocated = Allocated()
        self._seen = weakref.ref(allocated)
        raise RuntimeError("CUDA out of memory")

    def changes(self) -> tuple[str, ...]:
        return () if self._seen() is None else ("memory",)


class SaysNothingError(RuntimeError):
    def __str__(self) -> str:
        raise ValueError("no words for it")


@pytest.fixture
def failure(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], ProcessFailure]:
    monkeypatch.setenv("HF_TOKEN", "sentinel-5ecret")

    def run(error: BaseException) -> ProcessFailure:
        actor = MeasuringActor(lambda: Raises(error), 0, 1, 1)  # type: ignore[arg-type, return-value]
        actor.prepare({})
        reply = actor.run(RUN, None, None, 1)
        assert isinstance(reply.result, ProcessFailure)
        assert reply.result == ProcessFailure.model_validate_json(reply.result.model_dump_json())
        return reply.result

    return run


def test_a_message_that_is_no_utf8_is_kept_with_its_bytes_spelled_out(
    failure: Callable[[BaseException], ProcessFailure],
) -> None:
    got = failure(RuntimeError(os.fsdecode(b"caf\xe9 is no file")))
    assert "caf\\xe9 is no file" in got.error_message
    assert "caf\\xe9 is no file" in (got.traceback or "")


def test_nothing_in_a_message_steers_a_terminal(failure: Callable[[BaseException], ProcessFailure]) -> None:
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


def test_a_secret_is_hidden_before_anything_is_cut(failure: Callable[[BaseException], ProcessFailure]) -> None:
    for length in range(2_600, 2_640):  # so that one of them is cut in the midst of it
        got = failure(RuntimeError("x" * length + "sentinel-5ecret" + "y" * 9_000))
        assert "sentinel" not in got.error_message
        assert "5ecret" not in got.error_message
        assert "sentinel-5ecret" not in (got.traceback or "")


def test_an_exception_that_fails_to_say_what_it_is_is_a_failure_all_the_same(
    failure: Callable[[BaseException], ProcessFailure],
) -> None:
    got = failure(SaysNothingError())
    assert (got.error_type, got.error_message) == ("SaysNothingError", "SaysNothingError")


def test_model_code_that_calls_exit_is_a_failure_and_no_lost_process(
    failure: Callable[[BaseException], ProcessFailure],
) -> None:
    got = failure(SystemExit("no licence"))
    assert (got.status, got.error_type, got.error_message) == ("failed", "SystemExit", "no licence")


def test_what_a_failed_run_had_in_memory_is_gone_before_its_process_is_looked_at() -> None:
    actor = MeasuringActor(Keeps, 0, 1, 1)  # type: ignore[arg-type]
    actor.prepare({})
    reply = actor.run(RUN, None, None, 1)
    assert isinstance(reply.result, ProcessFailure)
    assert (reply.result.status, reply.reusable, reply.changes) == ("oom", True, ())


class ClosesItsOutput(Raises):
    """A measurer whose model's code closes what it prints to."""

    def measure(self, *_: object, **__: object) -> None:
        sys.stdout.close()
        raise self._error


class FullDisk(io.StringIO):
    """A stream to a disk that has no room."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_run_whose_output_cannot_be_written_still_ends_with_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, error in ((io.StringIO(), "closed"), (FullDisk(), "full")):
        monkeypatch.setattr(sys, "stdout", stream)
        actor = MeasuringActor(lambda error=error: ClosesItsOutput(RuntimeError(error)), 0, 1, 1)  # type: ignore[arg-type, misc]
        actor.prepare({})
        for _ in range(2):  # the second begins with the output as the first left it
            got = actor.run(RUN, None, None, 1).result
            assert isinstance(got, ProcessFailure)
        assert got.error_message in (error, "I/O operation on closed file")
