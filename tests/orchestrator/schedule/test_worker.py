"""What users see of the processes: names, log lines, and the metrics for Prometheus."""

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import ray

from orchestrator import grid, schedule
from orchestrator.schedule.backlog import WorkerShape
from orchestrator.schedule.worker import Worker
from tests.support.processes import until
from tests.support.sweeps import sweep


def test_processes_are_actors_with_names_that_begin_with_the_sweeps(ray_session: None) -> None:
    cluster = schedule.connect(sweep([{}], device="cpu", placement={"gpus_per_process": 1}))
    shape = WorkerShape(2, engine="fake")
    workers = [
        Worker(shape, nodes, cluster, sweep="names", texts=ray.put({}))
        for _ in range(2)
        if (nodes := cluster.place(shape))
    ]
    names = [one for one in ray.util.list_named_actors() if one.startswith("names-")]
    for worker in workers:
        worker.close()
    assert len(names) == len(set(names)) == 4
    assert all(re.fullmatch(r"names-[0-9a-f]{8}-[01]", name) for name in names)
    assert cluster.place(WorkerShape(8)) is not None  # all units are given back


@pytest.mark.slow
def test_prometheus_gets_the_number_of_runs_by_status(ray_session: None) -> None:
    small = sweep([{}, {}, {"raises": "no"}], name="counted", device="cpu", placement={"gpus_per_process": 1})
    runs = grid.runs(grid.expand(small), small)
    list(schedule.run(runs, small, schedule.connect(small)))
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"

    line = re.compile(r'^ray_joulegrid_runs_total\{.*status="(\w+)".*sweep="counted".*\} ([\d.]+)$', re.MULTILINE)

    def counted() -> dict[str, float]:
        metrics = urllib.request.urlopen(url, timeout=60).read().decode()
        return {status: float(value) for status, value in line.findall(metrics)}

    until(lambda: counted() == {"ok": 2.0, "failed": 1.0})
    assert "ray_joulegrid_gpu_busy_share{" in urllib.request.urlopen(url, timeout=60).read().decode()


LOUD = """
import os, sys
from tests.support.sweeps import not_counted, sweep
from orchestrator import grid, schedule

os.environ["RAY_ADDRESS"] = "local"
small = sweep([{}], engine="tests.support.engines:Loud", device="cpu", axes={"input_tokens": [11, 12]})
runs = grid.runs(grid.expand(small), small)
list(schedule.run(runs, small, schedule.connect(small), estimate=not_counted))
for run in runs:
    print("RUN", run.cell.input_tokens, run.key)
sys.stdout.flush()
sys.stdin.read()  # Ray's log monitor prints lines later
"""


@pytest.fixture(scope="module")
def log() -> str:
    """The output of a driver with two runs."""
    driver = subprocess.Popen(
        [sys.executable, "-c", LOUD],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=Path(__file__).parents[3], env=os.environ | {"RAY_DEDUP_LOGS": "0", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert driver.stdin
    assert driver.stdout
    awaited = {f"{start} {tokens}" for start in ("hello from", "warned by", "RUN") for tokens in (11, 12)}
    lines = []
    while awaited and (line := driver.stdout.readline()):
        lines.append(line)
        awaited = {text for text in awaited if text not in line}
    driver.stdin.close()
    lines += driver.stdout.readlines()
    assert driver.wait() == 0, "".join(lines)
    return "".join(lines)


@pytest.mark.slow
def test_a_log_line_begins_with_its_run(log: str) -> None:
    for tokens in (11, 12):
        key = re.search(rf"RUN {tokens} (\S+)", log)
        assert key
        assert re.search(rf"^\(m fp32 {re.escape(key[1])} pid=\d+.*\) hello from {tokens}$", log, re.MULTILINE), log
        assert re.search(rf"^\(m fp32 {re.escape(key[1])} pid=\d+.*\) warned by {tokens}$", log, re.MULTILINE), log


@pytest.mark.slow
def test_only_known_warnings_of_libraries_are_dropped(log: str) -> None:
    assert "warned by 11" in log
    assert "Failed to load" not in log


SHARED = """
import sys, threading, time
import ray
from tests.support.sweeps import not_counted, sweep
from orchestrator import grid, schedule
from orchestrator.schedule import loop, worker

@ray.remote(num_cpus=1, num_gpus=1)
class Training:
    def goes_on(self):
        return True

ray.init(address="local", num_cpus=4, num_gpus=1, include_dashboard=False, object_store_memory=100 * 2**20)
other = Training.remote()
ray.get(other.goes_on.remote())
# The real limits take five minutes. START_TIMEOUT_S is raised before the process starts, so that a slow start passes.
loop._REFRESH_S = worker._PLACED_WITHIN_S = 0.5
worker.START_TIMEOUT_S = 12.0

def release():
    worker.START_TIMEOUT_S = 600.0
    time.sleep(3)
    ray.kill(other)

threading.Timer(15, release).start()
small = sweep([{}, {}], device="cpu", placement={"gpus_per_process": 1})
runs = grid.runs(grid.expand(small), small)
for outcome in schedule.run(runs, small, schedule.connect(small)):
    print(outcome.status, len(outcome.earlier_failures))
"""


@pytest.mark.slow
def test_a_worker_waits_for_a_gpu_of_another_job_and_its_node_has_no_failure() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHARED], capture_output=True, text=True, check=True, timeout=240,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["ok 0", "ok 0"]
    assert done.stderr.count("waits for GPUs or CPUs that other jobs of the cluster use") == 1
    assert "could not start" not in done.stderr
