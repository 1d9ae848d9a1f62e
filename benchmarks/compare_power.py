"""Measure the false alarms and the detected losses of `compare`: simulated snapshots, compared by the real gate.

A snapshot is 200 cells x 5 repeats x 6 figures; each repeat is log-normal with 2 % noise. One cell loses some of its
throughput; every other finding is a false alarm. At most 1 pair (or history) in 100 may have one.

    python benchmarks/compare_power.py            # the promises of docs/nightly.md, some minutes
    python benchmarks/compare_power.py --harder   # harder cases: unequal cells, snapshots that add noise
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.compare.figures import FIGURES
from orchestrator.compare.gate import gate
from orchestrator.compare.history import history, snapshot_noise
from orchestrator.compare.rules import Rules
from orchestrator.compare.snapshot import Sample, Snapshot
from orchestrator.compare.verdicts import SnapshotInfo

sys.path.insert(0, str(Path(__file__).parents[1]))
from testbed.snapshots import simulated_cell

NAMES = [figure.name for figure in FIGURES]


@dataclass(frozen=True, kw_only=True)
class World:
    """The properties of the simulated snapshots."""

    cells: int = 200
    repeats: int = 5
    noise: float = 0.02
    """Relative standard deviation of one repeat."""
    unequal: float = 0.0
    """Standard deviation of the logarithm of the cells' noise; 0 for equally noisy cells."""
    outliers: int = 0
    """Cells that are three times as noisy as the others."""
    snapshot_noise: float = 0.0
    """Relative standard deviation that a snapshot adds to a cell's mean."""


@dataclass(frozen=True)
class Rates:
    """Shares of all simulated pairs or histories."""

    false_alarms: float
    """With a false regression, which fails."""
    false_findings: float
    """With any false finding."""
    detected: float
    """With the loss as a regression."""
    right_snapshot: float = 0.0
    """With the change at the right snapshot."""


def gate_rates(
    rng: np.random.Generator, *, pairs: int, loss: float, world: World | None = None, earlier: int = 0
) -> Rates:
    """Compare pairs; the first cell loses `loss` of its first figure. `earlier`: number of snapshots for `--nights`."""
    world = world or World()
    sd = _noise(rng, world)
    added = snapshot_noise([_snapshot(rng, world, sd) for _ in range(earlier)], ()) if earlier else None
    alarms = false_findings = detected = 0
    for _ in range(pairs):
        report = gate(_snapshot(rng, world, sd), _snapshot(rng, world, sd, loss), Rules(threshold=0.05), added)
        findings = [c for c in report.comparisons if c.verdict != "no difference"]
        false = [c for c in findings if loss == 0 or c.cell.cell_id != "0" or c.figure != NAMES[0]]
        alarms += any(c.regression for c in false)
        false_findings += bool(false)
        detected += any(c.regression for c in findings if c not in false)
    return Rates(alarms / pairs, false_findings / pairs, detected / pairs)


def history_rates(
    rng: np.random.Generator,
    *,
    histories: int,
    loss: float,
    before: int = 10,
    since: int = 5,
    world: World | None = None,
) -> Rates:
    """Histories of `before` snapshots and `since` more, in which the first cell has its loss."""
    world = world or World()
    sd = _noise(rng, world)
    alarms = false_findings = detected = right = 0
    for _ in range(histories):
        snapshots = [_snapshot(rng, world, sd, loss * (k >= before), k) for k in range(before + since)]
        report = history(snapshots, Rules(threshold=0.02))
        real = [c for c in report.changes if loss and (c.cell.cell_id, c.figure) == ("0", NAMES[0])]
        false = [c for c in report.changes if c not in real]
        alarms += any(c.regression for c in false)
        false_findings += bool(false)
        detected += any(c.regression for c in real)
        right += any(c.night_index == before for c in real)
    return Rates(alarms / histories, false_findings / histories, detected / histories, right / histories)


def _noise(rng: np.random.Generator, world: World) -> np.ndarray:
    sd = world.noise * np.exp(world.unequal * rng.normal(size=(world.cells, len(NAMES))))
    sd[1 : 1 + world.outliers] *= 3
    return sd


def _snapshot(rng: np.random.Generator, world: World, sd: np.ndarray, loss: float = 0.0, day: int = 0) -> Snapshot:
    logs = sd[..., None] * rng.normal(size=(*sd.shape, world.repeats))
    logs += world.snapshot_noise * rng.normal(size=(*sd.shape, 1))
    logs[0, 0] += np.log(1 - loss)
    mean, variance, values = (
        np.exp(logs.mean(axis=2)).tolist(),
        logs.var(axis=2, ddof=1).tolist(),
        np.exp(logs).tolist(),
    )
    starts = tuple(day * 86400.0 + 600.0 * repeat for repeat in range(world.repeats))
    cells = {
        str(i): simulated_cell(
            str(i),
            {
                name: Sample(mean[i][k], variance[i][k], world.repeats, tuple(values[i][k]), starts)
                for k, name in enumerate(NAMES)
            },
        )
        for i in range(world.cells)
    }
    info = SnapshotInfo(path="", sweep="simulated", started_unix_s=day * 86400.0, git_commit=None, cells=world.cells)
    return Snapshot(info=info, cells=cells)


def _print(title: str, rates: Rates) -> None:
    right = f", right snapshot {rates.right_snapshot:6.1%}" if rates.right_snapshot else ""
    print(
        f"{title:<62} false alarms {rates.false_alarms:6.1%}, any false finding {rates.false_findings:6.1%}, "
        f"detected {rates.detected:6.1%}{right}",
        flush=True,
    )


def _promises(rng: np.random.Generator, many: int) -> None:
    _print("gate, no change", gate_rates(rng, pairs=4 * many, loss=0.0))
    for loss in (0.06, 0.07, 0.08, 0.1):
        _print(f"gate, {loss:.0%} loss in one cell", gate_rates(rng, pairs=many, loss=loss))
    _print("history of 15 snapshots, no change", history_rates(rng, histories=many, loss=0.0))
    for since in range(1, 6):
        rates = history_rates(rng, histories=many // 2, loss=0.04, since=since)
        _print(f"history, 4 % loss after 10 snapshots, at its snapshot {since}", rates)


def _harder(rng: np.random.Generator, many: int) -> None:
    worlds = {
        "cells' noise scatters by a factor of 1.5": World(unequal=0.4),
        "five cells are three times as noisy": World(outliers=5),
        "a snapshot adds 1 % of noise": World(snapshot_noise=0.01),
        "4 cells x 3 repeats": World(cells=4, repeats=3),
    }
    for title, world in worlds.items():
        _print(f"gate, 8 % loss, {title}", gate_rates(rng, pairs=many, loss=0.08, world=world))
        with_earlier = gate_rates(rng, pairs=many, loss=0.08, world=world, earlier=10)
        _print("  the same, with 10 earlier snapshots (--nights)", with_earlier)
        _print(f"history, 8 % loss, {title}", history_rates(rng, histories=many // 4, loss=0.08, world=world))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harder", action="store_true", help="simulate harder cases than the promises")
    parser.add_argument("--many", type=int, default=200, help="simulations per line (default 200)")
    arguments = parser.parse_args()
    (_harder if arguments.harder else _promises)(np.random.default_rng(0), arguments.many)
