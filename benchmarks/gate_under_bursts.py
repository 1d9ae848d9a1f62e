"""Measure how the gate copes with bursts of load: pairs of simulated sweeps in virtual time, compared by the real gate.

A sweep is 12 cells x 5 repeats on one worker, as in the quick start: windows of 1 to 5 s, 2 % noise, four timing
figures. The real `Backlog` decides the order of the runs. Bursts of load begin at random, last 1 to 60 s, and slow
everything by a factor of 1.3 to 3. The gate must fail at most 2 of 200 pairs without a change, and at least 90 of 100
pairs with a loss of 8 % in one cell.

    python benchmarks/gate_under_bursts.py
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from testbed.bursts import Order, rates


def main() -> None:
    """Print the error rates, by order and frequency of bursts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000, help="simulated pairs per line (default 1000)")
    pairs = parser.parse_args().pairs
    rng = np.random.default_rng(0)
    orders: tuple[Order, ...] = ("longest_first", "as_written")
    for order in orders:
        for every_s in (0.0, 600.0, 300.0, 120.0):
            same = rates(rng, pairs=pairs, loss=0.0, every_s=every_s, order=order)
            lost = rates(rng, pairs=pairs, loss=0.08, every_s=every_s, order=order)
            load = f"bursts {every_s:.0f} s apart" if every_s else "no bursts"
            print(
                f"{order:<14} {load:<30} no change: {same.false_alarms:6.1%} false alarms, {same.doubtful:6.1%} "
                f"doubtful; 8 % loss in one cell: {lost.detected:6.1%} detected, {lost.false_alarms:6.1%} false alarms",
                flush=True,
            )


if __name__ == "__main__":
    main()
