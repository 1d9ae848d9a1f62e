"""The driver's memory does not depend on the number of cells; see `benchmarks/ten_thousand_cells.py`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "ten_thousand_cells.py"


@pytest.mark.slow
def test_the_drivers_memory_does_not_grow_with_the_sweep() -> None:
    output = subprocess.run(
        [sys.executable, BENCHMARK, "--sizes", "1000", "4000"], check=True, capture_output=True, text=True, timeout=280
    ).stdout
    assert json.loads(output.splitlines()[-1])["ratios"]["driver_mb"] <= 1.25
