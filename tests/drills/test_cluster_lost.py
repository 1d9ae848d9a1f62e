"""Drills on the cluster: its control store or the raylet of the driver's machine dies during a sweep."""

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.processes import until
from tests.support.program import Driver
from tests.support.sweeps import lines, settings


def begun(folder: Path, address: str, **env: str) -> tuple[Driver, dict[str, Any], Path]:
    """A driver in the middle of a sweep: its first run is in the journal, and another one is running."""
    log, go_on = folder / "log", folder / "go on"
    acts = [{"log": str(log)}, *({"log": str(log), "wait_for": str(go_on)} for _ in range(3))]
    config = settings(acts, out="out", device="cpu", max_attempts=1)
    driver = Driver(folder, config, address=address, **env)
    until(lambda: len(journalled(folder)) == 1 and len(lines(log)) == 2)
    return driver, config, go_on


def journalled(folder: Path) -> set[str]:
    return {file.name for file in (folder / "out" / "journal").glob("*.json")}


def child(driver: Driver, name: str) -> int:
    (pid,) = (one.pid for one in psutil.Process(driver.process.pid).children(recursive=True) if one.name() == name)
    return pid


def check_ended_as_lost(driver: Driver, folder: Path, cause: str) -> None:
    """The driver exits with its own code, prints one line and the command to continue, and keeps its finished runs."""
    assert driver.ended(timeout_s=60) == 4, driver.output
    assert "Traceback" not in driver.output
    lost, command = driver.output.splitlines()[-2:]
    assert lost.startswith("lost the Ray cluster at ")
    assert cause in lost
    assert Path(lost.partition("Ray's logs: ")[2]).is_dir()
    assert command == "stopped; to continue: python -m orchestrator sweep.yaml"
    assert len(journalled(folder)) == 1, "a run that was lost with the cluster did not fail"


@pytest.mark.slow
def test_a_local_ray_that_dies_ends_the_driver_with_its_own_code_and_the_command_continues(tmp_path: Path) -> None:
    for victim, cause in (("raylet", "the raylet of this machine"), ("gcs_server", "control store")):
        folder = tmp_path / victim
        driver, config, go_on = begun(folder, "local")
        os.kill(child(driver, victim), signal.SIGKILL)
        check_ended_as_lost(driver, folder, cause)
        assert driver.output.startswith("started a Ray cluster on this machine: 1 node, ")
    go_on.touch()
    again = Driver(folder, config)
    assert again.ended() == 0, again.output
    assert "1 of 4 runs are done already" in again.output


@pytest.mark.slow
def test_a_cluster_whose_head_does_not_restart_ends_the_driver(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": False, "object_store_memory": 100 * 2**20},
    )
    address = cluster.address
    try:
        driver, _, _ = begun(tmp_path, address, RAY_gcs_rpc_server_reconnect_timeout_s="12")
        cluster.head_node.kill_gcs_server()
        check_ended_as_lost(driver, tmp_path, "its control store (GCS) has not answered for ")
        assert driver.output.startswith(f"joined the Ray cluster at {address} (named by RAY_ADDRESS): 1 node, ")
    finally:
        cluster.shutdown()
