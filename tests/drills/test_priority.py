"""Drill: what else runs on a node does not go before what is measured."""

import os
from pathlib import Path

import pytest
from equipment import Driver, lines, settings, until


@pytest.mark.slow
@pytest.mark.parametrize("joins", [False, True], ids=["a Ray of its own", "a cluster that it joins"])
def test_processes_that_measure_have_the_drivers_priority(tmp_path: Path, two_gpus: str, joins: bool) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go on"
    asked = settings([{"log": str(log), "wait_for": str(go_on)}], out="out", device="cpu")
    driver = Driver(tmp_path, asked, address=two_gpus if joins else "local")
    until(lambda: lines(log))
    ((_, _, pid, _),) = lines(log)
    measures = os.getpriority(os.PRIO_PROCESS, int(pid))
    go_on.touch()
    assert driver.ended() == 0, driver.said
    assert measures == os.getpriority(os.PRIO_PROCESS, 0)
