"""Every call to a bucket ends, whatever the network does; and at once for a signal."""

import io
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from buckets import Bucket
from equipment import gone, until
from silent import How, SilentServer

from orchestrator.interrupt import Interrupted, Interruptible
from orchestrator.store import Folder, StoreError, bucket

CALLS: dict[str, Callable[[Folder], object]] = {
    "write": lambda place: place.write("a", b"x"),
    "read": lambda place: place.read("a"),
    "list": lambda place: place.names("a"),
}


@pytest.mark.parametrize(("how", "verb"), [("silent", "write"), ("trickles", "read"), ("stalls", "list")])
def test_a_call_to_a_bucket_that_does_not_answer_ends_and_so_does_what_made_it(
    how: How, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SilentServer(how) as server:
        before = programs()
        place = Folder(server.url)
        (program,) = programs() - before
        monkeypatch.setattr(bucket, "CALL_S", 0.5)
        with pytest.raises(StoreError, match=rf"cannot {verb} s3://\[redacted\]@bucket/out/a: no answer within"):
            CALLS[verb](place)
        assert gone(program)


def test_a_signal_ends_a_call_that_hangs() -> None:
    def write(place: Folder) -> None:
        with Interruptible():
            place.write("a", b"x")

    with SilentServer("trickles") as server:
        place = Folder(server.url)
        interrupts_once(server)
        with pytest.raises(Interrupted):
            write(place)


def test_a_call_that_hangs_while_signals_are_held_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "HURRIED_S", 0.2)
    said = []

    def write() -> None:
        with Interruptible() as signals, signals.held():
            place = Folder(server.url, hurried=lambda: signals.asked)
            try:
                place.write("a", b"x")
            except StoreError as error:
                said.append(str(error))

    with SilentServer("silent") as server:
        interrupts_once(server)
        with pytest.raises(Interrupted):
            write()
    assert said == ["cannot write s3://[redacted]@bucket/out/a: no answer within 0.2 s of being asked to stop"]


def test_a_program_that_was_killed_is_an_error_and_the_next_call_goes_well(bucket: Bucket) -> None:
    before = programs()
    place = Folder(bucket.url())
    (program,) = programs() - before
    os.kill(program, signal.SIGKILL)
    with pytest.raises(StoreError, match=r"cannot write .* ended with -9"):
        place.write("a", b"x")
    place.write("a", b"x")
    assert place.read("a") == b"x"


def test_calls_at_the_same_time_do_not_wait_for_each_other(bucket: Bucket) -> None:
    """The lock is renewed while a large table is on its way."""
    place = Folder(bucket.url())
    with place.writing("table") as (file,):
        file.write(b"x")
        place.write("lock", b"y")
    threads = [threading.Thread(target=place.write, args=(str(n), b"z")) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.names("") == ["0", "1", "2", "lock", "table"]


def interrupts_once(server: SilentServer) -> None:
    """Ctrl-C, once the server has been asked something."""

    def interrupt() -> None:
        until(server.asked.is_set)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()


def test_what_a_signal_cuts_short_is_written_to_the_end() -> None:
    class Short(io.BytesIO):
        def write(self, data: memoryview) -> int:  # type: ignore[override]
            return super().write(data[:3])

    pipe = Short()
    bucket._write_all(pipe, b"0123456789")
    assert pipe.getvalue() == b"0123456789"


def programs() -> set[int]:
    """The programs that talk to buckets for this process."""
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = {int(pid) for each in children for pid in each.read_text().split()}
    return {pid for pid in pids if b"bucket_process" in Path(f"/proc/{pid}/cmdline").read_bytes()}
