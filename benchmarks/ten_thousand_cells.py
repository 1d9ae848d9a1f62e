"""Compares the driver's time per cell and its memory at 10,000 cells and at 1,000.

Each size is a whole sweep of trivial cells in its own process: plan, count, schedule on 8 simulated GPUs, journal,
tables. The two times per cell are of the runs (from the first outcome to the last) and of all that follows (reading the
journal, aggregating, writing tables). The memory is the driver's largest resident set.

    python benchmarks/ten_thousand_cells.py                     # 1,000 and 10,000: some minutes
    python benchmarks/ten_thousand_cells.py --sizes 200 1000
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import ray
import trivial

TARGET = 1.5


def main() -> None:
    """Run the sizes and print the ratios of the last to the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[1000, 10_000], help="cells, multiples of 10 (default: 1000 10000)"
    )
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if arguments.one:
        print(json.dumps(one(arguments.one)))
        return
    figures_by_size = [_in_a_process(cells) for cells in arguments.sizes]
    for cells, figures in zip(arguments.sizes, figures_by_size, strict=True):
        print(f"{cells:>6} cells: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    first, last = figures_by_size[0], figures_by_size[-1]
    ratios = {name: last[name] / first[name] for name in first}
    for name, ratio in ratios.items():
        print(f"{name}, {arguments.sizes[-1]} cells to {arguments.sizes[0]}: {ratio:.2f} (at most {TARGET})")
    print(json.dumps({"ratios": ratios}))


def one(cells: int) -> dict[str, float]:
    """Run one sweep and measure its driver, which is this process."""
    trivial.start_ray()
    with tempfile.TemporaryDirectory() as folder:
        runs_s, tables_s = trivial.run(cells, Path(folder))
    ray.shutdown()
    return {
        "run_ms_per_cell": runs_s / cells * 1e3,
        "tables_ms_per_cell": tables_s / cells * 1e3,
        "driver_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def _in_a_process(cells: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", str(cells)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


if __name__ == "__main__":
    main()
