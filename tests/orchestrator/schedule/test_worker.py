"""Processes as people see them: their names, their log lines, and what Prometheus reads of a sweep."""

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import ray
from equipment import StandIn, not_estimated, sweep, until

from orchestrator import plan, schedule
from orchestrator.backlog import Kind
from orchestrator.schedule.worker import Equipment, Worker


def equipment() -> Equipment:
    return Equipment(sweep="names", make=StandIn, texts=ray.put({}))


def test_processes_are_actors_with_names_that_begin_with_the_sweeps(ray_session: None) -> None:
    cluster = schedule.connect(sweep([{}], device="cpu", placement={"gpus_per_process": 1}))
    workers = [Worker(Kind(2), nodes, cluster, equipment()) for _ in range(2) if (nodes := cluster.place(Kind(2)))]
    names = [one for one in ray.util.list_named_actors() if one.startswith("names-")]
    for worker in workers:
        worker.close()
    assert len(names) == len(set(names)) == 4
    assert all(re.fullmatch(r"names-[0-9a-f]{8}-[01]", name) for name in names)
    assert cluster.place(Kind(8)) is not None  # all room is given back


@pytest.mark.slow
def test_runs_are_counted_for_prometheus_by_how_they_ended(ray_session: None) -> None:
    asked = sweep([{}, {}, {"raises": "no"}], name="counted", device="cpu", placement={"gpus_per_process": 1})
    runs = plan.runs(plan.expand(asked), asked)
    list(schedule.run(runs, asked, schedule.connect(asked), make=StandIn, estimate=not_estimated))
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"

    line = re.compile(r'^ray_joulegrid_runs_total\{.*status="(\w+)".*sweep="counted".*\} ([\d.]+)$', re.MULTILINE)

    def counted() -> dict[str, float]:
        said = urllib.request.urlopen(url, timeout=60).read().decode()
        found = line.findall(said)
        return {status: float(value) for status, value in found}

    until(lambda: counted() == {"ok": 2.0, "failed": 1.0})
    assert "ray_joulegrid_gpu_busy_share{" in urllib.request.urlopen(url, timeout=60).read().decode()


LOUD = """
import logging, os, sys
from equipment import StandIn, not_estimated, sweep
from orchestrator import plan, schedule

class Loud(StandIn):
    def measure(self, run, **more):
        print("hello from", run.cell.input_tokens, flush=True)
        logging.getLogger("torchao").warning("Failed to load kernels")
        logging.getLogger("torchao").warning(f"warned by {run.cell.input_tokens}")
        return super().measure(run, **more)

os.environ["RAY_ADDRESS"] = "local"
asked = sweep([{}], device="cpu", axes={"input_tokens": [11, 12]})
runs = plan.runs(plan.expand(asked), asked)
list(schedule.run(runs, asked, schedule.connect(asked), make=Loud, estimate=not_estimated))
for run in runs:
    print("RUN", run.cell.input_tokens, run.key)
sys.stdout.flush()
sys.stdin.read()  # lines come by Ray's log monitor, in their own time
"""


@pytest.fixture(scope="module")
def log() -> str:
    """What a driver's log holds of its two runs."""
    driver = subprocess.Popen(
        [sys.executable, "-c", LOUD],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=Path(__file__).parents[3], env=os.environ | {"RAY_DEDUP_LOGS": "0", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert driver.stdin
    assert driver.stdout
    awaited = {f"{said} {tokens}" for said in ("hello from", "warned by", "RUN") for tokens in (11, 12)}
    lines = []
    while awaited and (line := driver.stdout.readline()):
        lines.append(line)
        awaited = {said for said in awaited if said not in line}
    driver.stdin.close()
    lines += driver.stdout.readlines()
    assert driver.wait() == 0, "".join(lines)
    return "".join(lines)


@pytest.mark.slow
def test_a_log_line_says_which_run_it_is_of(log: str) -> None:
    for tokens in (11, 12):
        key = re.search(rf"RUN {tokens} (\S+)", log)
        assert key
        assert re.search(rf"^\(m fp32 {re.escape(key[1])} pid=\d+.*\) hello from {tokens}$", log, re.MULTILINE), log
        assert re.search(rf"^\(m fp32 {re.escape(key[1])} pid=\d+.*\) warned by {tokens}$", log, re.MULTILINE), log


@pytest.mark.slow
def test_only_the_known_noise_of_libraries_is_dropped(log: str) -> None:
    assert "warned by 11" in log
    assert "Failed to load" not in log


SHARED = """
import sys, threading, time
import ray
from equipment import StandIn, not_estimated, sweep
from orchestrator import plan, schedule
from orchestrator.schedule import loop, worker

@ray.remote(num_cpus=1, num_gpus=1)
class Training:
    def goes_on(self):
        return True

ray.init(address="local", num_cpus=4, num_gpus=1, include_dashboard=False, object_store_memory=100 * 2**20)
other = Training.remote()
ray.get(other.goes_on.remote())
# Five minutes would show the same. Nothing is too slow to be looked at in time, or to start once there is room.
loop._LOOK_ROUND_S = worker._PLACED_WITHIN_S = 0.5
worker.START_TIMEOUT_S = 12.0

def release():
    worker.START_TIMEOUT_S = 600.0
    time.sleep(3)
    ray.kill(other)

threading.Timer(15, release).start()
asked = sweep([{}, {}], device="cpu", placement={"gpus_per_process": 1})
runs = plan.runs(plan.expand(asked), asked)
for outcome in schedule.run(runs, asked, schedule.connect(asked), make=StandIn, estimate=not_estimated):
    print(outcome.status, len(outcome.earlier_failures))
"""


@pytest.mark.slow
def test_a_gpu_that_another_job_holds_is_waited_for_and_its_node_is_not_blamed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHARED], capture_output=True, text=True, check=True, timeout=240,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["ok 0", "ok 0"]
    assert done.stderr.count("other jobs of the cluster hold") == 1
    assert "could not start" not in done.stderr
