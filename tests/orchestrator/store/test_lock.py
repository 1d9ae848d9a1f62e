import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from buckets import Bucket
from equipment import until

from orchestrator.store import Folder, StoreError, only_driver

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


def test_a_second_driver_is_refused_and_told_who_holds_the_folder(out: str) -> None:
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


def test_a_folder_that_was_given_back_is_free(out: str) -> None:
    for _ in range(2):
        with only_driver(Folder(out)):
            pass


def test_a_buckets_lock_of_another_host_holds_until_it_lapses(bucket: Bucket) -> None:
    said = '{{"who":"process 7 on far","token":"t","pid":7,"machine":"another","renewed_unix_s":{}}}'
    bucket.put("out/driver.lock", said.format(time.time() - 60).encode())
    with pytest.raises(StoreError, match="process 7 on far"), only_driver(Folder(bucket.url())):
        pass
    bucket.put("out/driver.lock", said.format(time.time() - 600).encode())
    with only_driver(Folder(bucket.url())):
        assert f'"pid":{os.getpid()}' in bucket.get("out/driver.lock").decode()
    assert "out/driver.lock" not in bucket.keys


def test_a_lock_object_of_another_make_is_an_error_that_says_what_to_do(bucket: Bucket) -> None:
    bucket.put("out/driver.lock", b"mine!")
    with pytest.raises(StoreError, match="delete it if no driver runs"), only_driver(Folder(bucket.url())):
        pass
    assert bucket.keys == ["out/driver.lock"]


def test_a_buckets_lock_is_renewed_while_nothing_else_happens(bucket: Bucket) -> None:
    with only_driver(Folder(bucket.url()), renewed_s=0.05):
        first = bucket.get("out/driver.lock")
        until(lambda: bucket.get("out/driver.lock") != first)


def test_a_driver_whose_lock_another_one_took_stops_and_leaves_that_lock_alone(bucket: Bucket) -> None:
    theirs = b'{"who":"process 7 on far","token":"t","pid":7,"machine":null,"renewed_unix_s":1e12}'
    with only_driver(Folder(bucket.url()), renewed_s=0.05) as hold:
        bucket.put("out/driver.lock", theirs)
        until(lambda: hold.lost)
        with pytest.raises(StoreError, match="process 7 on far"):
            hold.check()
    assert bucket.get("out/driver.lock") == theirs
