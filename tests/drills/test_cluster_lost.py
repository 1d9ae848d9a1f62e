"""Drills on the cluster itself: its control store, or the raylet of the driver's machine, dies in mid-sweep."""

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from equipment import Driver, lines, settings, until


def begun(folder: Path, address: str, **env: str) -> tuple[Driver, dict[str, Any], Path]:
    """A driver in the middle of a sweep: its first run is in the journal, and another one goes on."""
    log, go_on = folder / "log", folder / "go on"
    acts = [{"log": str(log)}, *({"log": str(log), "wait_for": str(go_on)} for _ in range(3))]
    asked = settings(acts, out="out", device="cpu", max_attempts=1)
    driver = Driver(folder, asked, address=address, **env)
    until(lambda: len(kept(folder)) == 1 and len(lines(log)) == 2)
    return driver, asked, go_on


def kept(folder: Path) -> set[str]:
    return {file.name for file in (folder / "out" / "journal").glob("*.json")}


def child(driver: Driver, name: str) -> int:
    (pid,) = (one.pid for one in psutil.Process(driver.process.pid).children(recursive=True) if one.name() == name)
    return pid


def ended_as_lost(driver: Driver, folder: Path, cause: str) -> None:
    """It says so in one line, with its own exit code and the command that goes on, and keeps what was measured."""
    assert driver.ended(timeout_s=60) == 4, driver.said
    assert "Traceback" not in driver.said
    lost, command = driver.said.splitlines()[-2:]
    assert lost.startswith("lost the Ray cluster at ")
    assert cause in lost
    assert Path(lost.partition("Ray's logs: ")[2]).is_dir()
    assert command == "stopped; to go on: python -m orchestrator sweep.yaml"
    assert len(kept(folder)) == 1, "what was lost with the cluster is no failure of the run"


@pytest.mark.slow
def test_a_ray_of_its_own_that_dies_ends_the_driver_with_its_own_code_and_the_command_goes_on(tmp_path: Path) -> None:
    for victim, cause in (("raylet", "the raylet of this machine"), ("gcs_server", "control store")):
        folder = tmp_path / victim
        driver, asked, go_on = begun(folder, "local")
        os.kill(child(driver, victim), signal.SIGKILL)
        ended_as_lost(driver, folder, cause)
        assert driver.said.startswith("started a Ray of its own on this machine: 1 node, ")
    go_on.touch()
    again = Driver(folder, asked)
    assert again.ended() == 0, again.said
    assert "1 of 4 runs are done already" in again.said


@pytest.mark.slow
def test_a_cluster_whose_head_does_not_come_back_ends_the_driver(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": False, "object_store_memory": 100 * 2**20},
    )
    address = cluster.address
    try:
        driver, _, _ = begun(tmp_path, address, RAY_gcs_rpc_server_reconnect_timeout_s="12")
        cluster.head_node.kill_gcs_server()
        ended_as_lost(driver, tmp_path, "its control store (GCS) has not answered for ")
        assert driver.said.startswith(f"joined the Ray cluster at {address} (named by RAY_ADDRESS): 1 node, ")
    finally:
        cluster.shutdown()
