"""Simulate pairs of sweeps with bursts of load, in virtual time, and compare them with the real gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator import config, grid
from orchestrator.compare.figures import FIGURES
from orchestrator.compare.gate import gate
from orchestrator.compare.rules import Rules
from orchestrator.compare.snapshot import Sample, Snapshot
from orchestrator.compare.verdicts import SnapshotInfo
from orchestrator.schedule.backlog import Backlog, RunTimes, shape_of
from testbed.snapshots import simulated_cell
from workers.records import Run

TIMED = ("output_tokens_per_s", "ttft_s", "tpot_s", "e2e_s")
NOISE = 0.02
LOAD_S = 0.3
BETWEEN_S = 0.05
"""Time between two runs of a worker."""
WARMUP = 0.3
"""Duration of the warm-up, as a share of the window."""
LONGEST_S = 7200.0
"""Upper bound on the duration of a simulated sweep."""

Order = Literal["longest_first", "interleaved", "as_written"]


@dataclass(frozen=True)
class Rates:
    """Shares of all simulated pairs."""

    false_alarms: float
    """Pairs that fail because of a cell without a change."""
    detected: float
    """Pairs that fail because of the cell with the loss."""
    doubtful: float
    """Pairs with a doubtful difference, or with no certain comparison."""


@dataclass(frozen=True)
class Burst:
    """Other load on the machine."""

    start_s: float
    end_s: float
    factor: float
    """Everything that runs during the burst takes this many times as long."""


def bursts(rng: np.random.Generator, *, every_s: float) -> list[Burst]:
    """Consecutive bursts of load, `every_s` apart on average. One may have begun before the sweep."""
    result, now_s = [], -60.0
    while every_s and now_s < LONGEST_S:
        start_s = now_s + rng.exponential(every_s)
        now_s = start_s + rng.uniform(1, 60)
        result.append(Burst(start_s, now_s, rng.uniform(1.3, 3)))
    return result


def after_s(start_s: float, work_s: float, load: Sequence[Burst]) -> float:
    """End of work that takes `work_s` without load."""
    now_s = start_s
    for burst in load:
        quiet_s = max(0.0, burst.start_s - now_s)
        if work_s <= quiet_s:
            break
        slowed_s = max(0.0, burst.end_s - max(now_s, burst.start_s)) / burst.factor
        if work_s <= quiet_s + slowed_s:
            return max(now_s, burst.start_s) + (work_s - quiet_s) * burst.factor
        work_s -= quiet_s + slowed_s
        now_s = max(now_s, burst.end_s)
    return now_s + work_s


def sweep(order: Order, *, repeats: int = 5) -> list[Run]:
    """The runs of a small sweep, in the order in which one worker gets them."""
    sweep_config = config.from_mapping(
        {
            "name": "simulated",
            "models": ["org/a", "org/b"],
            "precisions": ["fp32", "bf16", "fp16"],
            "axes": {"batch_size": [1, 4]},
            "repeats": repeats,
            "order": order,
        }
    )
    runs = grid.runs(grid.expand(sweep_config), sweep_config)
    backlog = Backlog(runs, keep_order=order != "longest_first")
    for model in dict.fromkeys(run.cell.model_key for run in runs):
        backlog.release(model, lambda _: RunTimes(run_s=0.5, load_s=0.01))  # small models are taken for faster still
    taken: list[Run] = []
    while run := backlog.take(shape_of(runs[0]), loaded=taken[-1].cell.load_key if taken else None):
        taken.append(run)
    return taken


def snapshot(
    rng: np.random.Generator, runs: Sequence[Run], window_s: dict[str, float], every_s: float, loss: float
) -> Snapshot:
    """Simulate the figures of all runs; the first cell has a loss of `loss`."""
    load = bursts(rng, every_s=every_s)
    slowdown: dict[str, list[float]] = {cell_id: [] for cell_id in window_s}
    starts: dict[str, list[float]] = {cell_id: [] for cell_id in window_s}
    now_s, loaded = 0.0, ""
    for run in runs:
        cell_id, work_s = run.cell.cell_id, window_s[run.cell.cell_id]
        now_s = after_s(now_s, LOAD_S * (run.cell.load_key != loaded) + WARMUP * work_s, load)
        end_s = after_s(now_s, work_s, load)
        slowdown[cell_id].append((end_s - now_s) / work_s)
        starts[cell_id].append(now_s)
        now_s, loaded = end_s + BETWEEN_S, run.cell.load_key
    lost = next(iter(window_s))
    cells = {}
    for cell_id, factors in slowdown.items():
        logs = np.log(factors) - np.log(1 - loss) * (cell_id == lost)
        samples = {name: _sample(name, logs + NOISE * rng.normal(size=len(logs)), starts[cell_id]) for name in TIMED}
        cells[cell_id] = simulated_cell(cell_id, samples)
    info = SnapshotInfo(path="", sweep="simulated", started_unix_s=0.0, git_commit=None, cells=len(cells))
    return Snapshot(info=info, cells=cells)


def _sample(figure: str, slower: np.ndarray, starts: Sequence[float]) -> Sample:
    better = next(each.better for each in FIGURES if each.name == figure)
    logs = -slower if better == "higher" else slower
    return Sample(
        float(np.exp(logs.mean())), float(logs.var(ddof=1)), len(logs), tuple(np.exp(logs).tolist()), tuple(starts)
    )


def rates(
    rng: np.random.Generator, *, pairs: int, loss: float, every_s: float, order: Order = "longest_first"
) -> Rates:
    """Compare pairs of snapshots of one sweep, the second with a loss of `loss` in one cell."""
    runs = sweep(order)
    false_alarms = detected = doubtful = 0
    for _ in range(pairs):
        window_s = {run.cell.cell_id: float(rng.uniform(1, 5)) for run in runs}
        lost = next(iter(window_s))
        snapshots = (snapshot(rng, runs, window_s, every_s=every_s, loss=each) for each in (0.0, loss))
        report = gate(*snapshots, Rules(threshold=0.05))
        failing = {c.cell.cell_id for c in report.regressions}
        false_alarms += bool(failing - {lost} if loss else failing)
        detected += bool(loss) and lost in failing
        doubtful += report.nothing_certain or any(c.verdict == "doubtful" for c in report.comparisons)
    return Rates(false_alarms / pairs, detected / pairs, doubtful / pairs)
