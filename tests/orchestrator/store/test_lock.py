import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from orchestrator.store import Folder, StoreError, lease, only_driver
from orchestrator.store.lock import LOCK
from tests.support.buckets import Bucket
from tests.support.processes import until

HOLD = """
import sys, time
from orchestrator.store import Folder, only_driver
with only_driver(Folder(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["disk", "bucket"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.getfixturevalue("bucket").url() if request.param == "bucket" else tmp_path / "out")


def holder(out: str) -> "subprocess.Popen[str]":
    """Another process that holds `out`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_driver_gets_an_error_that_names_the_holder(out: str) -> None:
    other = holder(out)
    try:
        with pytest.raises(StoreError, match=rf"is being written by process {other.pid} on "), only_driver(Folder(out)):
            pass
    finally:
        other.kill()
        other.wait()


def test_the_folder_of_a_driver_that_was_killed_is_free_at_once(out: str) -> None:
    other = holder(out)
    other.send_signal(signal.SIGKILL)
    other.wait()
    with only_driver(Folder(out)) as hold:
        assert not hold.lost


def test_a_released_folder_is_free(out: str) -> None:
    for _ in range(2):
        with only_driver(Folder(out)):
            pass


def test_a_deleted_lock_file_is_locked_again_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with only_driver(Folder(str(tmp_path))) as hold:
        (tmp_path / LOCK).unlink()
        assert not hold.lost
        assert f"{tmp_path / LOCK} was deleted while this driver held it" in caplog.text
        with pytest.raises(StoreError, match=f"process {os.getpid()} on "), only_driver(Folder(str(tmp_path))):
            pass


def test_a_driver_whose_lock_file_was_deleted_and_locked_by_another_loses_the_folder(tmp_path: Path) -> None:
    with only_driver(Folder(str(tmp_path))) as hold:
        (tmp_path / LOCK).unlink()
        other = holder(str(tmp_path))
        try:
            assert hold.lost
            with pytest.raises(StoreError, match=f"was deleted .* is being written by process {other.pid} on "):
                hold.check()
        finally:
            other.kill()
            other.wait()
        assert hold.lost


def claim(*, who: str = "process 7 on far", holding: bool = True) -> bytes:
    return json.dumps({"who": who, "pid": 7, "machine": "another", "holding": holding}).encode()


def claims(bucket: Bucket) -> list[str]:
    return [key for key in bucket.keys if key.startswith(f"out/{LOCK}/") and not key.endswith("/")]


def test_a_buckets_lock_of_another_host_expires_by_the_buckets_clock(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_pause", lambda: None)
    bucket.put("out/driver.lock/other.json", claim(holding=False))
    with pytest.raises(StoreError, match="process 7 on far"), only_driver(Folder(bucket.url())):
        pass
    assert claims(bucket) == ["out/driver.lock/other.json"]
    monkeypatch.setattr(lease, "STALE_S", 0.0)
    with only_driver(Folder(bucket.url())):
        (mine,) = claims(bucket)
        assert f'"pid":{os.getpid()}' in bucket.get(mine).decode()
    assert claims(bucket) == []


def test_a_lock_object_of_another_program_is_an_error_that_says_what_to_do(bucket: Bucket) -> None:
    bucket.put("out/driver.lock/x", b"mine!")
    with pytest.raises(StoreError, match="delete it if no driver is running"), only_driver(Folder(bucket.url())):
        pass
    assert claims(bucket) == ["out/driver.lock/x"]


def test_a_buckets_lock_is_renewed_in_the_background(bucket: Bucket) -> None:
    with only_driver(Folder(bucket.url()), renewed_s=0.05):
        (mine,) = claims(bucket)
        bucket.put(mine, b"old")
        until(lambda: bucket.get(mine) != b"old")


def test_a_deleted_lock_of_a_bucket_is_claimed_again_with_a_warning(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    with only_driver(Folder(bucket.url()), renewed_s=0.05) as hold:
        (mine,) = claims(bucket)
        bucket.client.delete_object(Bucket=bucket.name, Key=mine)
        until(lambda: "was deleted; this driver holds it again" in caplog.text)
        assert not hold.lost
        assert claims(bucket) == [mine]


@pytest.mark.parametrize("deleted", [True, False])
def test_a_driver_whose_lock_another_one_took_loses_the_folder_and_keeps_that_lock(
    bucket: Bucket, deleted: bool
) -> None:
    with only_driver(Folder(bucket.url()), renewed_s=0.05) as hold:
        (mine,) = claims(bucket)
        bucket.put("out/driver.lock/other.json", claim())
        if deleted:
            bucket.client.delete_object(Bucket=bucket.name, Key=mine)
        until(lambda: hold.lost)
        with pytest.raises(StoreError, match=r"this driver's lock .* is being written by process 7 on far"):
            hold.check()
    assert claims(bucket) == ["out/driver.lock/other.json"]


def test_a_driver_whose_machine_was_suspended_checks_its_lock_before_it_writes(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspended_s = 0.0
    clock = time.clock_gettime
    monkeypatch.setattr(
        time, "clock_gettime", lambda which: clock(which) + suspended_s * (which == time.CLOCK_BOOTTIME)
    )
    with only_driver(Folder(bucket.url()), renewed_s=600) as hold:
        hold.check()
        suspended_s += 100
        hold.check()
        suspended_s += 100
        bucket.put("out/driver.lock/other.json", claim())
        with pytest.raises(StoreError, match=r"could not be renewed in time.* process 7 on far"):
            hold.check()
        assert hold.lost


@pytest.mark.parametrize("seed", range(12))
def test_at_most_one_of_several_drivers_holds_the_folder_whatever_the_order_of_their_requests(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request takes effect at a random moment between its call and its return, like a slow PUT."""
    turns, objects = Turns(seed), {}
    monkeypatch.setattr(lease, "_pause", turns.wait)
    holding: set[int] = set()
    most: list[int] = []

    def drive(number: int) -> None:
        turns.wait()
        with contextlib.suppress(StoreError), only_driver(cast("Folder", Slow(turns, objects)), renewed_s=600):
            holding.add(number)
            most.append(len(holding))
            turns.wait()
            holding.remove(number)

    turns.run([partial(drive, number) for number in range(3)])
    assert max(most, default=1) == 1
    assert objects == {}


class Turns:
    """Lets one random thread run at a time, until it waits."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._changed = threading.Condition()
        self._waiting: set[int] = set()
        self._next: int | None = None

    def wait(self) -> None:
        """Wait for this thread's turn."""
        me = threading.get_ident()
        with self._changed:
            self._waiting.add(me)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._next == me)
            self._next = None
            self._waiting.remove(me)

    def run(self, what: list[Callable[[], None]]) -> None:
        threads = [threading.Thread(target=each, daemon=True) for each in what]
        for thread in threads:
            thread.start()
        while alive := [thread.ident for thread in threads if thread.is_alive()]:
            with self._changed:
                ready = self._changed.wait_for(
                    lambda alive=alive: self._next is None and self._waiting >= {*alive}, timeout=0.005
                )
                if ready:
                    self._next = self._rng.choice(sorted(self._waiting))
                    self._changed.notify_all()


class Slow:
    """A bucket in memory: each request takes effect at its first turn and returns at its second."""

    out = "s3://slow"
    root = None

    def __init__(self, turns: Turns, objects: dict[str, bytes]) -> None:
        self._turns, self._objects = turns, objects

    def write(self, name: str, data: bytes) -> None:
        self._turns.wait()
        self._objects[name] = data
        self._turns.wait()

    def delete(self, name: str) -> None:
        self.delete_all([name])

    def delete_all(self, names: list[str]) -> None:
        self._turns.wait()
        for name in names:
            self._objects.pop(name, None)
        self._turns.wait()

    def entries(self, inside: str) -> dict[str, float]:
        self._turns.wait()
        found = {name.removeprefix(f"{inside}/"): 1.0 for name in self._objects}
        self._turns.wait()
        return found

    def read_all(self, names: list[str]) -> list[bytes | None]:
        self._turns.wait()
        found = [self._objects.get(name) for name in names]
        self._turns.wait()
        return found
