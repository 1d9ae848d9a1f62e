"""A simulated machine in real time, and a process on it that runs a test's code."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.nvml_sim import Simulation

_CHILD = """
import json, os, sys, time, traceback
from testbed.nvml_sim import Simulation
from workers.energy import EnergyMeter, card_names, cards, driver_version, nvml
from workers.energy.sampler import Sampler
sim = Simulation.attach()
def window(meter):
    meter.begin()
    return meter.end()
def plain(value):
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else [plain(v) for v in value] \
        if isinstance(value, (list, tuple)) else value
scope = globals()
for line in sys.stdin:
    scope.pop("answer", None)
    try:
        exec(json.loads(line), scope)
        print(json.dumps({"answer": plain(scope.get("answer"))}), flush=True)
    except BaseException:
        print(json.dumps({"error": traceback.format_exc()}), flush=True)
"""


class Machine:
    """Simulated cards (`cards[0].period_ns = ...`) and one process that uses them (`run`)."""

    def __init__(self, folder: Path, *, gpus: int = 2) -> None:
        self.cards = Simulation(folder, gpus=gpus)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            env=self.cards.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str) -> Any:
        """Run code in that process; returns its variable `answer`, with records as dictionaries."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        reply = json.loads(self.process.stdout.readline())
        assert "error" not in reply, reply["error"]
        return reply["answer"]

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine with two cards at 60 W and 100 ms counters."""
    machine = Machine(tmp_path)
    yield machine
    machine.close()


@pytest.fixture
def machine_of(tmp_path: Path) -> Iterator[Any]:
    """Creates a machine with the requested number of cards."""
    machines: list[Machine] = []

    def create(*, gpus: int) -> Machine:
        machines.append(Machine(tmp_path, gpus=gpus))
        return machines[-1]

    yield create
    for machine in machines:
        machine.close()
