"""What the gate promises, on simulated nights: 200 cells x 5 repeats x 6 figures at 2 % noise, fixed seeds.

One cell has a real loss; whatever is found in the other 1,199 comparisons is a false alarm. So each simulation shows
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
def test_the_gate_finds_an_eight_percent_loss_and_hardly_ever_cries_wolf(power: ModuleType) -> None:
    rates = power.gate_rates(np.random.default_rng(1), nights=200, loss=0.08)

    assert rates.found >= 0.95
    assert rates.false_alarms <= 0.01


@pytest.mark.slow
def test_history_finds_a_four_percent_loss_by_its_fifth_night_and_hardly_ever_cries_wolf(power: ModuleType) -> None:
    rates = power.history_rates(np.random.default_rng(2), histories=60, loss=0.04)

    assert rates.found >= 0.90
    assert rates.right_night >= 0.90
    assert rates.false_alarms <= 0.01


def test_noise_that_nights_add_is_not_taken_for_changes_by_history(power: ModuleType) -> None:
    rates = power.history_rates(
        np.random.default_rng(3), histories=25, loss=0.0, world=power.World(cells=40, night=0.02)
    )

    assert rates.false_findings <= 0.04
