"""Drill: other processes of a node have no priority over those that measure."""

import os
from pathlib import Path

import pytest

from tests.support.processes import until
from tests.support.program import Driver
from tests.support.sweeps import lines, settings


@pytest.mark.slow
@pytest.mark.parametrize("joins", [False, True], ids=["a Ray of its own", "a cluster that it joins"])
def test_processes_that_measure_have_the_drivers_priority(tmp_path: Path, two_gpus: str, joins: bool) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go on"
    config = settings([{"log": str(log), "wait_for": str(go_on)}], out="out", device="cpu")
    driver = Driver(tmp_path, config, address=two_gpus if joins else "local")
    until(lambda: lines(log))
    ((_, _, pid, _),) = lines(log)
    measures = os.getpriority(os.PRIO_PROCESS, int(pid))
    go_on.touch()
    assert driver.ended() == 0, driver.output
    assert measures == os.getpriority(os.PRIO_PROCESS, 0)
