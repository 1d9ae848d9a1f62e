"""Drills on the program as a process: it is killed or interrupted, its disk is full, its bucket is gone."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from orchestrator.store import Folder, only_driver
from tests.support.buckets import Bucket
from tests.support.processes import until
from tests.support.program import SECRET, Driver
from tests.support.silent import FailingLine, SilentServer
from tests.support.sweeps import lines, settings

Acts = list[dict[str, Any]]


def keys(folder: Path) -> set[str]:
    return {file.stem for file in (folder / "journal").glob("*.json")}


def runs_in(table: Any) -> list[str]:
    return sorted(
        f"{cell}.{repeat}"
        for cell, repeat in zip(*(table[name].to_pylist() for name in ("cell_id", "repeat")), strict=True)
    )


@pytest.mark.slow
def test_a_driver_that_is_killed_ten_times_at_random_measures_every_run_exactly_once(
    tmp_path: Path, two_gpus: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    log, out = tmp_path / "log", tmp_path / "out"
    config = settings([{"log": str(log), "sleep_s": 0.8} for _ in range(20)], out=str(out), repeats=3)
    journalled: dict[str, int] = {}  # runs in the journal at a kill -> how often each had been measured
    for _ in range(10):
        driver = Driver(tmp_path, config, address=two_gpus)
        before = len(keys(out))
        until(lambda before=before: len(keys(out)) > before)
        time.sleep(rng.uniform(0, 1.5))
        driver.kill()
        driver.ended()
        time.sleep(0.5)  # its workers die later; what they start until then is not a new run
        tries = Counter(key for key, *_ in lines(log))
        journalled |= {key: tries[key] for key in keys(out) - set(journalled)}
    assert 10 <= len(journalled) < 60
    last = Driver(tmp_path, config, address=two_gpus)
    assert last.ended() == 0, last.output
    tries = Counter(key for key, *_ in lines(log))
    assert {key: tries[key] for key in journalled} == journalled
    raw, results = pq.read_table(out / "raw.parquet"), pq.read_table(out / "results.parquet")
    assert runs_in(raw) == sorted(keys(out)) == sorted(tries)
    assert len(keys(out)) == 60
    assert len(set(results["cell_id"].to_pylist())) == results.num_rows == 20
    assert set(results["repeats_ok"].to_pylist()) == {3}
    assert not [file for file in out.rglob("*") if file.suffix not in (".json", ".parquet", ".lock") and file.is_file()]


@pytest.mark.slow
def test_ctrl_c_ends_the_driver_within_seconds_and_prints_the_command_to_continue(
    tmp_path: Path, two_gpus: str
) -> None:
    log, go_on, out = tmp_path / "log", tmp_path / "go on", tmp_path / "out"
    acts: Acts = [{"log": str(log)}, *({"log": str(log), "wait_for": str(go_on)} for _ in range(3))]
    config = settings(acts, out="out")
    for signum, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        log.unlink(missing_ok=True)
        driver = Driver(tmp_path, config, address=two_gpus)
        until(lambda: len(keys(out)) == 1 and len(lines(log)) >= 2)
        if signum == signal.SIGINT:
            second = Driver(tmp_path / "second", config | {"out": str(out)}, address=two_gpus)
            assert second.ended() == 3
            assert f"is being written by process {driver.process.pid} on " in second.output
        os.killpg(driver.process.pid, signum)  # like a terminal: to all processes that it started
        assert driver.ended() == code, driver.output
        assert driver.output.endswith("stopped; to continue: python -m orchestrator sweep.yaml\n")
        assert "Traceback" not in driver.output
        assert len(keys(out)) == 1
        assert not list(out.rglob("*.part"))
    go_on.touch()
    log.unlink()
    driver = Driver(tmp_path, config, address=two_gpus)
    assert driver.ended() == 0, driver.output
    assert len(lines(log)) == 3
    assert "4 of 4 cells ok" in driver.output


@pytest.mark.slow
def test_a_sweep_writes_all_its_results_when_nobody_reads_its_output(tmp_path: Path, two_gpus: str) -> None:
    go_on = tmp_path / "go on"
    acts: Acts = [{"raises": "boom"}, *({"wait_for": str(go_on)} for _ in range(3))]
    left, full = tmp_path / "left", tmp_path / "full"
    reader_left = Driver(left, settings(acts, out=str(left)), address=two_gpus)
    with Path("/dev/full").open("w") as device:
        nowhere = Driver(full, settings(acts, out=str(full)), address=two_gpus, stdout=device)
        assert reader_left.process.stdout is not None
        reader_left.process.stdout.readline()
        reader_left.process.stdout.close()
        go_on.touch()
        assert [reader_left.process.wait(120), nowhere.process.wait(120)] == [1, 1]
    for out in (left, full):
        assert sorted(pq.read_table(out / "results.parquet")["status"].to_pylist()) == ["failed", "ok", "ok", "ok"]


@pytest.mark.slow
def test_a_full_disk_stops_the_sweep_and_loses_no_finished_run(tmp_path: Path, small_disk: Path, two_gpus: str) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go on"
    acts: Acts = [{"log": str(log)}, *({"log": str(log), "wait_for": str(go_on)} for _ in range(3))]
    config = settings(acts, out=str(small_disk))
    driver = Driver(tmp_path, config, address=two_gpus)
    until(lambda: len(keys(small_disk)) == 1 and len(lines(log)) == 3)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filled").write_bytes(b"x" * 2_000_000)
    go_on.touch()
    assert driver.ended() == 3, driver.output
    assert "Traceback" not in driver.output
    error = driver.output.strip().splitlines()[-1]
    assert "No space left on device" in error
    copy_back(error, small_disk / "journal", small_disk / "filled")
    finished = keys(small_disk)
    assert len(finished) >= 2
    log.unlink()
    again = Driver(tmp_path, config, address=two_gpus)
    assert again.ended() == 0, again.output
    assert {key for key, *_ in lines(log)} == keys(small_disk) - finished


def copy_back(error: str, journal: Path, filled: Path) -> None:
    """Follow the instructions of the error after freeing the disk."""
    rescued = Path(error.partition("copy ")[2].partition("/*.json")[0])
    filled.unlink()
    for file in rescued.glob("*.json"):
        (journal / file.name).write_bytes(file.read_bytes())
        file.unlink()
    rescued.rmdir()


@pytest.mark.slow
def test_a_sweep_into_a_bucket_continues_where_a_write_failed(tmp_path: Path, bucket: Bucket, two_gpus: str) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go on"
    acts: Acts = [{"log": str(log)}, *({"log": str(log), "wait_for": str(go_on)} for _ in range(2))]
    config = settings(acts, out=bucket.url())
    driver = Driver(tmp_path, config, address=two_gpus)
    until(lambda: sum("journal/" in key for key in bucket.keys) == 1 and len(lines(log)) == 3)
    kept = {key: bucket.get(key) for key in bucket.keys if "journal/" in key}
    bucket.remove()
    go_on.touch()
    assert driver.ended() == 3, driver.output
    assert "Traceback" not in driver.output
    error = driver.output.strip().splitlines()[-1]
    assert f"cannot write s3://{bucket.name}/out/journal/" in error
    rescued = Path(error.partition("copy ")[2].partition("/*.json")[0])
    bucket.client.create_bucket(Bucket=bucket.name)
    for file in rescued.glob("*.json"):
        kept[f"out/journal/{file.name}"] = file.read_bytes()
        file.unlink()
    rescued.rmdir()
    for key, data in kept.items():
        bucket.put(key, data)
    log.unlink()
    again = Driver(tmp_path, config, address=two_gpus)
    assert again.ended() == 0, again.output
    assert len(lines(log)) == 3 - len(kept) < 2
    where, inside = pafs.FileSystem.from_uri(bucket.url())
    assert pq.read_table(f"{inside}/results.parquet", filesystem=where)["status"].to_pylist() == ["ok"] * 3
    assert len(runs_in(pq.read_table(f"{inside}/raw.parquet", filesystem=where))) == 3
    assert not [key for key in bucket.keys if key.startswith("out/driver.lock/") and not key.endswith("/")]


@pytest.mark.slow
def test_ctrl_c_ends_within_seconds_and_loses_no_finished_run_while_a_bucket_does_not_answer(
    tmp_path: Path, bucket: Bucket, two_gpus: str
) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go on"
    acts: Acts = [{"log": str(log)}, *({"log": str(log), "wait_for": str(go_on)} for _ in range(3))]
    with FailingLine(bucket.address) as line:
        config = settings(acts, out=bucket.url().replace(bucket.address, line.address))
        driver = Driver(tmp_path, config, address=two_gpus)
        until(lambda: sum("journal/" in key for key in bucket.keys) == 1 and len(lines(log)) == 3)
        line.cut()
        go_on.touch()
        until(line.ignored.is_set)
        os.killpg(driver.process.pid, signal.SIGINT)
        assert driver.ended(timeout_s=60) == 130, driver.output
    assert "Traceback" not in driver.output
    error, stopped = driver.output.strip().splitlines()[-2:]
    assert stopped.startswith("stopped; to continue: ")
    rescued = Path(error.partition("copy ")[2].partition("/*.json")[0])
    files = [*rescued.glob("*.json")]
    assert files
    for file in files:
        bucket.put(f"out/journal/{file.name}", file.read_bytes())
        file.unlink()
    rescued.rmdir()
    log.unlink()
    again = Driver(tmp_path, config | {"out": bucket.url()}, address=two_gpus)
    assert again.ended() == 0, again.output
    assert len(lines(log)) == 4 - 1 - len(files)


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (None, 3)])
def test_a_bucket_that_never_answers_is_reported_in_bounded_time_before_a_cluster_is_started(
    tmp_path: Path, signum: int | None, code: int
) -> None:
    with SilentServer("trickles") as server:
        driver = Driver(tmp_path, settings([{}], out=server.url), RAY_TMPDIR=str(tmp_path / "ray"))
        until(server.connected.is_set)
        if signum is not None:
            driver.kill(signum)
        assert driver.ended() == code, driver.output
    assert "Traceback" not in driver.output
    assert not (tmp_path / "ray").exists()
    if signum is None:
        assert "cannot write s3://[redacted]@bucket/out/driver.lock/" in driver.output
        assert "no answer within 30 s" in driver.output


def test_a_second_driver_is_refused_before_it_starts_a_cluster(tmp_path: Path) -> None:
    with only_driver(Folder(str(tmp_path / "out"))):
        second = Driver(tmp_path, settings([{}], out="out"), RAY_TMPDIR=str(tmp_path / "ray"))
        assert second.ended() == 3, second.output
    assert f"is being written by process {os.getpid()} on " in second.output
    assert not (tmp_path / "ray").exists()


@pytest.mark.slow
def test_no_result_log_or_metadata_contains_a_secret(tmp_path: Path, bucket: Bucket, two_gpus: str) -> None:
    assert "sentinel" in SECRET
    acts: Acts = [{}, {"raises": "401 for https://me:$HF_TOKEN@hub/x with $HF_TOKEN"}]
    url = bucket.url(credentials="KEY:sentinel-5ecret-of-the-url@")
    driver = Driver(tmp_path, settings(acts, out=url), address=two_gpus, HF_TOKEN="sentinel-5ecret-of-the-driver")
    assert driver.ended() == 1, driver.output
    assert "401 for https://[redacted]@hub/x with [redacted]" in driver.output
    assert f"s3://[redacted]@{bucket.name}/out" in driver.output
    assert "sentinel" not in driver.output
    for key in bucket.keys:
        assert b"sentinel" not in bucket.get(key), key
    where, inside = pafs.FileSystem.from_uri(bucket.url())
    for name in ("results", "raw"):
        table = pq.read_table(f"{inside}/{name}.parquet", filesystem=where)
        assert "[redacted]" in str(table.to_pylist())
        assert "sentinel" not in f"{table.to_pylist()} {table.schema.metadata}"
