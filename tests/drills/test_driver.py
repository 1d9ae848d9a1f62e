"""Drills on the program as a process: killed, interrupted, its disk full, its bucket gone."""

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
from buckets import Bucket
from equipment import SECRET, Driver, lines, settings, until
from silent import FailingLine, SilentServer

from orchestrator.store import Folder, only_driver

Acts = list[dict[str, Any]]


def keys(folder: Path) -> set[str]:
    return {file.stem for file in (folder / "journal").glob("*.json")}


def runs_in(table: Any) -> list[str]:
    return sorted(
        f"{cell}.{repeat}"
        for cell, repeat in zip(*(table[name].to_pylist() for name in ("cell_id", "repeat")), strict=True)
    )


@pytest.mark.slow
def test_a_driver_killed_ten_times_at_random_ends_with_every_run_exactly_once(tmp_path: Path, two_gpus: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    log, out = tmp_path / "log", tmp_path / "out"
    asked = settings([{"log": str(log), "sleep_s": 0.8} for _ in range(20)], out=str(out), repeats=3)
    kept: dict[str, int] = {}  # what the journal held at a kill, and how often it had been measured by then
    for _ in range(10):
        driver = Driver(tmp_path, asked, address=two_gpus)
        before = len(keys(out))
        until(lambda before=before: len(keys(out)) > before)
        time.sleep(rng.uniform(0, 1.5))
        driver.kill()
        driver.ended()
        time.sleep(0.5)  # its workers die after it; what they begin until then is no new run
        tries = Counter(key for key, *_ in lines(log))
        kept |= {key: tries[key] for key in keys(out) - set(kept)}
    assert 10 <= len(kept) < 60
    last = Driver(tmp_path, asked, address=two_gpus)
    assert last.ended() == 0, last.said
    tries = Counter(key for key, *_ in lines(log))
    assert {key: tries[key] for key in kept} == kept
    raw, results = pq.read_table(out / "raw.parquet"), pq.read_table(out / "results.parquet")
    assert runs_in(raw) == sorted(keys(out)) == sorted(tries)
    assert len(keys(out)) == 60
    assert len(set(results["cell_id"].to_pylist())) == results.num_rows == 20
    assert set(results["repeats_ok"].to_pylist()) == {3}
    assert not [file for file in out.rglob("*") if file.suffix not in (".json", ".parquet", ".lock") and file.is_file()]


@pytest.mark.slow
def test_ctrl_c_ends_in_seconds_with_the_command_that_goes_on(tmp_path: Path, two_gpus: str) -> None:
    log, go_on, out = tmp_path / "log", tmp_path / "go on", tmp_path / "out"
    acts: Acts = [{"log": str(log)}, *({"log": str(log), "wait_for": str(go_on)} for _ in range(3))]
    asked = settings(acts, out="out")
    for signum, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        log.unlink(missing_ok=True)
        driver = Driver(tmp_path, asked, address=two_gpus)
        until(lambda: len(keys(out)) == 1 and len(lines(log)) >= 2)
        if signum == signal.SIGINT:
            second = Driver(tmp_path / "second", asked | {"out": str(out)}, address=two_gpus)
            assert second.ended() == 3
            assert f"is being written by process {driver.process.pid} on " in second.said
        os.killpg(driver.process.pid, signum)  # as a terminal does: to all that it started, too
        assert driver.ended() == code, driver.said
        assert driver.said.endswith("stopped; to go on: python -m orchestrator sweep.yaml\n")
        assert "Traceback" not in driver.said
        assert len(keys(out)) == 1
        assert not list(out.rglob("*.part"))
    go_on.touch()
    log.unlink()
    driver = Driver(tmp_path, asked, address=two_gpus)
    assert driver.ended() == 0, driver.said
    assert len(lines(log)) == 3
    assert "4 of 4 cells ok" in driver.said


@pytest.mark.slow
def test_a_sweep_ends_with_all_its_results_when_nobody_reads_what_it_prints(tmp_path: Path, two_gpus: str) -> None:
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
def test_a_disk_that_is_full_stops_the_sweep_and_loses_no_finished_run(
    tmp_path: Path, small_disk: Path, two_gpus: str
) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go on"
    acts: Acts = [{"log": str(log)}, *({"log": str(log), "wait_for": str(go_on)} for _ in range(3))]
    asked = settings(acts, out=str(small_disk))
    driver = Driver(tmp_path, asked, address=two_gpus)
    until(lambda: len(keys(small_disk)) == 1 and len(lines(log)) == 3)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filled").write_bytes(b"x" * 2_000_000)
    go_on.touch()
    assert driver.ended() == 3, driver.said
    assert "Traceback" not in driver.said
    error = driver.said.strip().splitlines()[-1]
    assert "No space left on device" in error
    put_back(error, small_disk / "journal", small_disk / "filled")
    finished = keys(small_disk)
    assert len(finished) >= 2
    log.unlink()
    again = Driver(tmp_path, asked, address=two_gpus)
    assert again.ended() == 0, again.said
    assert {key for key, *_ in lines(log)} == keys(small_disk) - finished


def put_back(error: str, journal: Path, filled: Path) -> None:
    """What the error says to do, once there is room."""
    rescued = Path(error.partition("copy ")[2].partition("/*.json")[0])
    filled.unlink()
    for file in rescued.glob("*.json"):
        (journal / file.name).write_bytes(file.read_bytes())
        file.unlink()
    rescued.rmdir()


@pytest.mark.slow
def test_a_sweep_into_a_bucket_goes_on_where_the_bucket_refused_it(
    tmp_path: Path, bucket: Bucket, two_gpus: str
) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go on"
    acts: Acts = [{"log": str(log)}, *({"log": str(log), "wait_for": str(go_on)} for _ in range(2))]
    asked = settings(acts, out=bucket.url())
    driver = Driver(tmp_path, asked, address=two_gpus)
    until(lambda: sum("journal/" in key for key in bucket.keys) == 1 and len(lines(log)) == 3)
    kept = {key: bucket.get(key) for key in bucket.keys if "journal/" in key}
    bucket.remove()
    go_on.touch()
    assert driver.ended() == 3, driver.said
    assert "Traceback" not in driver.said
    error = driver.said.strip().splitlines()[-1]
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
    again = Driver(tmp_path, asked, address=two_gpus)
    assert again.ended() == 0, again.said
    assert len(lines(log)) == 3 - len(kept) < 2
    where, inside = pafs.FileSystem.from_uri(bucket.url())
    assert pq.read_table(f"{inside}/results.parquet", filesystem=where)["status"].to_pylist() == ["ok"] * 3
    assert len(runs_in(pq.read_table(f"{inside}/raw.parquet", filesystem=where))) == 3
    assert not [key for key in bucket.keys if key.startswith("out/driver.lock/") and not key.endswith("/")]


@pytest.mark.slow
def test_ctrl_c_while_a_bucket_does_not_answer_ends_in_seconds_and_loses_no_finished_run(
    tmp_path: Path, bucket: Bucket, two_gpus: str
) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go on"
    acts: Acts = [{"log": str(log)}, *({"log": str(log), "wait_for": str(go_on)} for _ in range(3))]
    with FailingLine(bucket.address) as line:
        asked = settings(acts, out=bucket.url().replace(bucket.address, line.address))
        driver = Driver(tmp_path, asked, address=two_gpus)
        until(lambda: sum("journal/" in key for key in bucket.keys) == 1 and len(lines(log)) == 3)
        line.cut()
        go_on.touch()
        until(line.asked_in_vain.is_set)
        os.killpg(driver.process.pid, signal.SIGINT)
        assert driver.ended(timeout_s=60) == 130, driver.said
    assert "Traceback" not in driver.said
    error, stopped = driver.said.strip().splitlines()[-2:]
    assert stopped.startswith("stopped; to go on: ")
    rescued = Path(error.partition("copy ")[2].partition("/*.json")[0])
    files = [*rescued.glob("*.json")]
    assert files
    for file in files:
        bucket.put(f"out/journal/{file.name}", file.read_bytes())
        file.unlink()
    rescued.rmdir()
    log.unlink()
    again = Driver(tmp_path, asked | {"out": bucket.url()}, address=two_gpus)
    assert again.ended() == 0, again.said
    assert len(lines(log)) == 4 - 1 - len(files)


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (None, 3)])
def test_a_bucket_that_never_answers_is_told_in_bounded_time_and_no_cluster_is_started_for_it(
    tmp_path: Path, signum: int | None, code: int
) -> None:
    with SilentServer("trickles") as server:
        driver = Driver(tmp_path, settings([{}], out=server.url), RAY_TMPDIR=str(tmp_path / "ray"))
        until(server.asked.is_set)
        if signum is not None:
            driver.kill(signum)
        assert driver.ended() == code, driver.said
    assert "Traceback" not in driver.said
    assert not (tmp_path / "ray").exists()
    if signum is None:
        assert "cannot write s3://[redacted]@bucket/out/driver.lock/" in driver.said
        assert "no answer within 30 s" in driver.said


def test_a_second_driver_is_refused_before_it_starts_a_cluster(tmp_path: Path) -> None:
    with only_driver(Folder(str(tmp_path / "out"))):
        second = Driver(tmp_path, settings([{}], out="out"), RAY_TMPDIR=str(tmp_path / "ray"))
        assert second.ended() == 3, second.said
    assert f"is being written by process {os.getpid()} on " in second.said
    assert not (tmp_path / "ray").exists()


@pytest.mark.slow
def test_no_secret_stands_in_any_result_log_or_metadata(tmp_path: Path, bucket: Bucket, two_gpus: str) -> None:
    assert "sentinel" in SECRET
    acts: Acts = [{}, {"raises": "401 for https://me:$HF_TOKEN@hub/x with $HF_TOKEN"}]
    url = bucket.url(credentials="KEY:sentinel-5ecret-of-the-url@")
    driver = Driver(tmp_path, settings(acts, out=url), address=two_gpus, HF_TOKEN="sentinel-5ecret-of-the-driver")
    assert driver.ended() == 1, driver.said
    assert "401 for https://[redacted]@hub/x with [redacted]" in driver.said
    assert f"s3://[redacted]@{bucket.name}/out" in driver.said
    assert "sentinel" not in driver.said
    for key in bucket.keys:
        assert b"sentinel" not in bucket.get(key), key
    where, inside = pafs.FileSystem.from_uri(bucket.url())
    for name in ("results", "raw"):
        table = pq.read_table(f"{inside}/{name}.parquet", filesystem=where)
        assert "[redacted]" in str(table.to_pylist())
        assert "sentinel" not in f"{table.to_pylist()} {table.schema.metadata}"
