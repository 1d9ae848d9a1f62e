"""What bursts of load make of the gate: pairs of simulated sweeps, in virtual time, through the gate's own code.

A sweep is 12 cells x 5 repeats on one worker, as in the quick start: windows of 1 to 5 s, 2 % noise, four timing
figures. The program's own `Backlog` decides what runs when. Bursts of load come at random, last 1 to 60 s, and slow
whatever runs meanwhile by a factor of 1.3 to 3. Of 200 pairs in which nothing else changes, the gate may fail 2; a loss
of 8 % in one cell has to fail it in 90 of 100.

    python benchmarks/gate_under_bursts.py
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from compare_power import made_cell

from orchestrator import config, plan
from orchestrator.backlog import Backlog, Forecast, kind_of
from orchestrator.compare.figures import FIGURES
from orchestrator.compare.gate import gate
from orchestrator.compare.night import Night, Sample
from orchestrator.compare.rules import Rules
from orchestrator.compare.verdicts import NightInfo
from workers.records import Run

TIMED = ("output_tokens_per_s", "ttft_s", "tpot_s", "e2e_s")
NOISE = 0.02
LOAD_S = 0.3
BETWEEN_S = 0.05
"""What the driver and the process take between two runs."""
WARMUP = 0.3
"""Warm-up, as a share of the window."""
LONGEST_S = 7200.0
"""No sweep here lasts longer."""

Order = Literal["longest_first", "interleaved", "as_written"]


@dataclass(frozen=True)
class Rates:
    """Shares of all simulated pairs."""

    alarms: float
    """That fail by a cell in which nothing changed."""
    found: float
    """That fail by the cell that lost."""
    doubtful: float
    """That call a difference doubtful, or nothing certain."""


@dataclass(frozen=True)
class Burst:
    """Other load on the machine."""

    start_s: float
    end_s: float
    factor: float
    """Whatever runs meanwhile takes this many times as long."""


def bursts(rng: np.random.Generator, *, every_s: float) -> list[Burst]:
    """Bursts of load, one after the other, with `every_s` of quiet between them on average; one may be under way."""
    found, now_s = [], -60.0
    while every_s and now_s < LONGEST_S:
        start_s = now_s + rng.exponential(every_s)
        now_s = start_s + rng.uniform(1, 60)
        found.append(Burst(start_s, now_s, rng.uniform(1.3, 3)))
    return found


def after_s(start_s: float, work_s: float, load: Sequence[Burst]) -> float:
    """When work is done that takes `work_s` on a quiet machine."""
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
    """The runs of a small sweep, in the order that one worker gets them."""
    made = config.from_mapping(
        {
            "name": "simulated",
            "models": ["org/a", "org/b"],
            "precisions": ["fp32", "bf16", "fp16"],
            "axes": {"batch_size": [1, 4]},
            "repeats": repeats,
            "order": order,
        }
    )
    runs = plan.runs(plan.expand(made), made)
    backlog = Backlog(runs, keep_order=order != "longest_first")
    for model in dict.fromkeys(run.cell.model_key for run in runs):
        backlog.release(model, lambda _: Forecast(run_s=0.5, load_s=0.01))  # small models are taken for faster still
    taken: list[Run] = []
    while run := backlog.take(kind_of(runs[0]), loaded=taken[-1].cell.load_key if taken else None):
        taken.append(run)
    return taken


def night(
    rng: np.random.Generator, runs: Sequence[Run], window_s: dict[str, float], every_s: float, loss: float
) -> Night:
    """The runs' figures on one night; the first cell loses `loss`."""
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
        cells[cell_id] = made_cell(cell_id, samples)
    info = NightInfo(path="", sweep="simulated", started_unix_s=0.0, git_commit=None, cells=len(cells))
    return Night(info=info, cells=cells)


def _sample(figure: str, slower: np.ndarray, starts: Sequence[float]) -> Sample:
    better = next(each.better for each in FIGURES if each.name == figure)
    logs = -slower if better == "higher" else slower
    return Sample(
        float(np.exp(logs.mean())), float(logs.var(ddof=1)), len(logs), tuple(np.exp(logs).tolist()), tuple(starts)
    )


def rates(
    rng: np.random.Generator, *, pairs: int, loss: float, every_s: float, order: Order = "longest_first"
) -> Rates:
    """Pairs of nights of one sweep, the second with a loss of `loss` in one cell."""
    runs = sweep(order)
    alarms = found = doubtful = 0
    for _ in range(pairs):
        window_s = {run.cell.cell_id: float(rng.uniform(1, 5)) for run in runs}
        lost = next(iter(window_s))
        nights = (night(rng, runs, window_s, every_s=every_s, loss=each) for each in (0.0, loss))
        report = gate(*nights, Rules(threshold=0.05))
        failing = {c.cell.cell_id for c in report.regressions}
        alarms += bool(failing - {lost} if loss else failing)
        found += bool(loss) and lost in failing
        doubtful += report.nothing_certain or any(c.verdict == "doubtful" for c in report.comparisons)
    return Rates(alarms / pairs, found / pairs, doubtful / pairs)


def main() -> None:
    """Print the promises, and what becomes of repeats side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000, help="simulated pairs of each kind (default 1000)")
    pairs = parser.parse_args().pairs
    rng = np.random.default_rng(0)
    orders: tuple[Order, ...] = ("longest_first", "as_written")
    for order in orders:
        for every_s in (0.0, 600.0, 300.0, 120.0):
            same = rates(rng, pairs=pairs, loss=0.0, every_s=every_s, order=order)
            lost = rates(rng, pairs=pairs, loss=0.08, every_s=every_s, order=order)
            load = f"a burst every {every_s:.0f} s of quiet" if every_s else "no bursts"
            print(
                f"{order:<14} {load:<30} nothing changed: {same.alarms:6.1%} alarms, {same.doubtful:6.1%} doubtful; "
                f"8 % loss in one cell: {lost.found:6.1%} found, {lost.alarms:6.1%} alarms",
                flush=True,
            )


if __name__ == "__main__":
    main()
