"""How often `compare` cries wolf, and how often it sees one: simulated nights through the gate's own code.

A night is 200 cells x 5 repeats x 6 figures, each repeat log-normal at 2 % about its level. One cell loses some of its
throughput; whatever else is found is a false alarm, of which at most 1 night (history) in 100 may hold any.

    python benchmarks/compare_power.py            # the promises of docs/nightly.md, some minutes
    python benchmarks/compare_power.py --harder   # beyond them: unequal cells, nights with noise of their own
"""

import argparse
from dataclasses import dataclass

import numpy as np

from orchestrator.compare.figures import FACETS, FACTS, FIGURES, STATED
from orchestrator.compare.gate import gate
from orchestrator.compare.history import history, night_noise
from orchestrator.compare.night import CellNight, Night, Sample
from orchestrator.compare.rules import Rules
from orchestrator.compare.verdicts import CellRef, NightInfo

NAMES = [figure.name for figure in FIGURES]


@dataclass(frozen=True, kw_only=True)
class World:
    """What the nights are like."""

    cells: int = 200
    repeats: int = 5
    noise: float = 0.02
    """Relative standard deviation of one repeat."""
    unequal: float = 0.0
    """Standard deviation of the logarithm of the cells' noise: 0 means equally noisy cells."""
    lonely: int = 0
    """Cells that are three times as noisy as the others."""
    night: float = 0.0
    """Relative standard deviation that a night adds to a cell's mean."""


@dataclass(frozen=True)
class Rates:
    """Shares of all simulated nights (histories)."""

    false_alarms: float
    """That hold a false `worse` beyond the threshold, or any false change."""
    false_findings: float
    """That hold a false finding of any kind and size."""
    found: float
    """That find the loss (and fail by it)."""
    right_night: float = 0.0
    """That name its night."""


def gate_rates(
    rng: np.random.Generator, *, nights: int, loss: float, world: World | None = None, earlier: int = 0
) -> Rates:
    """Nights against the night before; the first cell loses `loss` of its first figure. `earlier`: as `--nights`."""
    world = world or World()
    sd = _noise(rng, world)
    learnt = night_noise([_night(rng, world, sd) for _ in range(earlier)], ()) if earlier else None
    alarms = findings = found = 0
    for _ in range(nights):
        report = gate(_night(rng, world, sd), _night(rng, world, sd, loss), Rules(threshold=0.05), learnt)
        told = [c for c in report.comparisons if c.verdict != "no difference"]
        false = [c for c in told if loss == 0 or c.cell.cell_id != "0" or c.figure != NAMES[0]]
        alarms += any(c.regression for c in false)
        findings += bool(false)
        found += any(c.regression for c in told if c not in false)
    return Rates(alarms / nights, findings / nights, found / nights)


def history_rates(
    rng: np.random.Generator,
    *,
    histories: int,
    loss: float,
    before: int = 10,
    since: int = 5,
    world: World | None = None,
) -> Rates:
    """Histories of `before` nights and `since` more, over which the first cell keeps its loss."""
    world = world or World()
    sd = _noise(rng, world)
    alarms = findings = found = right = 0
    for _ in range(histories):
        nights = [_night(rng, world, sd, loss * (k >= before), k) for k in range(before + since)]
        report = history(nights, Rules(threshold=0.02))
        mine = [c for c in report.changes if loss and (c.cell.cell_id, c.figure) == ("0", NAMES[0])]
        false = [c for c in report.changes if c not in mine]
        alarms += any(c.regression for c in false)
        findings += bool(false)
        found += any(c.regression for c in mine)
        right += any(c.night_index == before for c in mine)
    return Rates(alarms / histories, findings / histories, found / histories, right / histories)


def _noise(rng: np.random.Generator, world: World) -> np.ndarray:
    sd = world.noise * np.exp(world.unequal * rng.normal(size=(world.cells, len(NAMES))))
    sd[1 : 1 + world.lonely] *= 3
    return sd


def _night(rng: np.random.Generator, world: World, sd: np.ndarray, loss: float = 0.0, day: int = 0) -> Night:
    logs = sd[..., None] * rng.normal(size=(*sd.shape, world.repeats))
    logs += world.night * rng.normal(size=(*sd.shape, 1))
    logs[0, 0] += np.log(1 - loss)
    mean, variance, values = (
        np.exp(logs.mean(axis=2)).tolist(),
        logs.var(axis=2, ddof=1).tolist(),
        np.exp(logs).tolist(),
    )
    starts = tuple(day * 86400.0 + 600.0 * repeat for repeat in range(world.repeats))
    cells = {
        str(i): made_cell(
            str(i),
            {
                name: Sample(mean[i][k], variance[i][k], world.repeats, tuple(values[i][k]), starts)
                for k, name in enumerate(NAMES)
            },
        )
        for i in range(world.cells)
    }
    info = NightInfo(path="", sweep="simulated", started_unix_s=day * 86400.0, git_commit=None, cells=world.cells)
    return Night(info=info, cells=cells)


def made_cell(cell_id: str, samples: dict[str, Sample]) -> CellNight:
    """A cell of a night on which nothing but its figures is of interest."""
    return CellNight(
        ref=CellRef(cell_id=cell_id, label=cell_id),
        ok=True,
        failure="",
        samples=samples,
        missing={},
        facts=dict.fromkeys((fact.name for fact in FACTS), None),
        facets=dict.fromkeys(FACETS, "same"),
        stated=dict.fromkeys(STATED, "same"),
        mixed=(),
    )


def _print(title: str, rates: Rates) -> None:
    named = f", its night named {rates.right_night:6.1%}" if rates.right_night else ""
    print(
        f"{title:<62} alarms {rates.false_alarms:6.1%}, any false finding {rates.false_findings:6.1%}, "
        f"found {rates.found:6.1%}{named}",
        flush=True,
    )


def _promises(rng: np.random.Generator, many: int) -> None:
    _print("gate, nothing changed", gate_rates(rng, nights=4 * many, loss=0.0))
    for loss in (0.06, 0.07, 0.08, 0.1):
        _print(f"gate, {loss:.0%} loss in one cell", gate_rates(rng, nights=many, loss=loss))
    _print("history of 15 nights, nothing changed", history_rates(rng, histories=many, loss=0.0))
    for since in range(1, 6):
        rates = history_rates(rng, histories=many // 2, loss=0.04, since=since)
        _print(f"history, 4 % loss in one cell after 10 nights, on its night {since}", rates)


def _harder(rng: np.random.Generator, many: int) -> None:
    worlds = {
        "cells' noise scatters by a factor of 1.5": World(unequal=0.4),
        "five cells are three times as noisy": World(lonely=5),
        "a night adds 1 % to the repeats' noise": World(night=0.01),
        "4 cells x 3 repeats": World(cells=4, repeats=3),
    }
    for title, world in worlds.items():
        _print(f"gate, 8 % loss, {title}", gate_rates(rng, nights=many, loss=0.08, world=world))
        _print("  with --nights, 10 of them", gate_rates(rng, nights=many, loss=0.08, world=world, earlier=10))
        _print(f"history, 8 % loss, {title}", history_rates(rng, histories=many // 4, loss=0.08, world=world))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harder", action="store_true", help="beyond the promises")
    parser.add_argument("--many", type=int, default=200, help="simulations of each kind (default 200)")
    arguments = parser.parse_args()
    (_harder if arguments.harder else _promises)(np.random.default_rng(0), arguments.many)
