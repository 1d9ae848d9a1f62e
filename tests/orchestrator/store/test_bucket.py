"""Every call to a bucket ends, whatever the network does, and at once after a signal."""

import io
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.interrupt import Interrupted, Interruptible
from orchestrator.store import Folder, StoreError, bucket
from tests.support.buckets import Bucket
from tests.support.processes import gone, until
from tests.support.silent import How, SilentServer

CALLS: dict[str, Callable[[Folder], object]] = {
    "write": lambda place: place.write("a", b"x"),
    "read": lambda place: place.read("a"),
    "list": lambda place: place.names("a"),
}


@pytest.mark.parametrize(("how", "verb"), [("silent", "write"), ("trickles", "read"), ("stalls", "list")])
def test_a_call_without_an_answer_ends_and_so_does_its_helper_process(
    how: How, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SilentServer(how) as server:
        before = helpers()
        place = Folder(server.url)
        (helper,) = helpers() - before
        monkeypatch.setattr(bucket, "CALL_TIMEOUT_S", 0.5)
        with pytest.raises(StoreError, match=rf"cannot {verb} s3://\[redacted\]@bucket/out/a: no answer within"):
            CALLS[verb](place)
        assert gone(helper)


def test_a_signal_ends_a_call_that_hangs() -> None:
    def write(place: Folder) -> None:
        with Interruptible():
            place.write("a", b"x")

    with SilentServer("trickles") as server:
        place = Folder(server.url)
        interrupt_once_connected(server)
        with pytest.raises(Interrupted):
            write(place)


def test_a_call_that_hangs_while_signals_are_held_gets_a_shorter_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "STOPPING_TIMEOUT_S", 0.2)
    messages = []

    def write() -> None:
        with Interruptible() as signals, signals.held():
            place = Folder(server.url, stopping=lambda: signals.received is not None)
            try:
                place.write("a", b"x")
            except StoreError as error:
                messages.append(str(error))

    with SilentServer("silent") as server:
        interrupt_once_connected(server)
        with pytest.raises(Interrupted):
            write()
    assert messages == ["cannot write s3://[redacted]@bucket/out/a: no answer within 0.2 s of the request to stop"]


def test_a_killed_helper_process_is_an_error_and_the_next_call_succeeds(bucket: Bucket) -> None:
    before = helpers()
    place = Folder(bucket.url())
    (helper,) = helpers() - before
    os.kill(helper, signal.SIGKILL)
    with pytest.raises(StoreError, match=r"cannot write .* ended with exit code -9"):
        place.write("a", b"x")
    place.write("a", b"x")
    assert place.read("a") == b"x"


def test_concurrent_calls_do_not_wait_for_each_other(bucket: Bucket) -> None:
    """The lock is renewed while a large table is uploaded."""
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


def interrupt_once_connected(server: SilentServer) -> None:
    """Send Ctrl-C once the server has a connection."""

    def interrupt() -> None:
        until(server.connected.is_set)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()


def test_a_write_that_a_signal_interrupts_is_completed() -> None:
    class Short(io.BytesIO):
        def write(self, data: memoryview) -> int:  # type: ignore[override]
            return super().write(data[:3])

    pipe = Short()
    bucket._write_all(pipe, b"0123456789")
    assert pipe.getvalue() == b"0123456789"


def helpers() -> set[int]:
    """The helper processes of this process."""
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = {int(pid) for each in children for pid in each.read_text().split()}
    return {pid for pid in pids if b"bucket_process" in Path(f"/proc/{pid}/cmdline").read_bytes()}
