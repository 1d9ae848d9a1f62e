"""The error rates of the gate on simulated snapshots: 200 cells x 5 repeats x 6 figures at 2 % noise, fixed seeds.

One cell has a real loss; every finding in the other 1,199 comparisons is a false alarm. So each simulation measures
both rates. `benchmarks/compare_power.py` prints more of them.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "compare_power.py"


@pytest.fixture(scope="module")
def power() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_power", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_gate_detects_an_eight_percent_loss_and_rarely_raises_a_false_alarm(power: ModuleType) -> None:
    rates = power.gate_rates(np.random.default_rng(1), pairs=200, loss=0.08)

    assert rates.detected >= 0.95
    assert rates.false_alarms <= 0.01


@pytest.mark.slow
def test_history_detects_a_four_percent_loss_by_its_fifth_snapshot_and_rarely_raises_a_false_alarm(
    power: ModuleType,
) -> None:
    rates = power.history_rates(np.random.default_rng(2), histories=60, loss=0.04)

    assert rates.detected >= 0.90
    assert rates.right_snapshot >= 0.90
    assert rates.false_alarms <= 0.01


@pytest.mark.slow
def test_history_does_not_take_the_noise_of_snapshots_for_changes(power: ModuleType) -> None:
    rates = power.history_rates(
        np.random.default_rng(3), histories=25, loss=0.0, world=power.World(cells=40, snapshot_noise=0.02)
    )

    assert rates.false_findings <= 0.04
