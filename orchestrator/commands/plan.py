"""`python -m orchestrator plan sweep.yaml`: every cell of a sweep with its needs and costs, before it runs.

Starts no Ray and loads no torch. FLOPs, memory and time are closed forms (`orchestrator.costs.forecast`). They are
null, with the reason, where the model's config is not on this disk or its architecture has no closed form.
"""

import argparse
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue, NonNegativeFloat, NonNegativeInt

from orchestrator import config, grid
from orchestrator.config import SweepConfig
from orchestrator.costs.cards import CARDS, RAY_CARDS
from orchestrator.costs.forecast import Forecast, forecast
from orchestrator.support import unsupported
from workers.records import Cell, Hardware, Record, Run
from workers.records.redact import redact
from workers.records.text import one_line, printable
from workers.records.wire import optional_packages


class PlannedCell(Record):
    """A cell, its status and its forecast."""

    cell_id: str
    """Hash of its settings."""
    settings: dict[str, JsonValue]
    """Its settings, by their names in the sweep file."""
    status: Literal["to do", "done", "skipped"]
    """`done` where every repeat is finished; `skipped` where no run of it can succeed."""
    reason: str | None = None
    """Why it is skipped."""
    repeats_done: NonNegativeInt = 0
    """Finished repeats."""
    gpus: NonNegativeFloat
    """GPUs that a run reserves; 0 on the CPU."""
    forecast: Forecast
    """Its FLOPs, memory and time, from closed forms."""


class Plan(Record):
    """A sweep before it runs."""

    name: str
    """The sweep's name."""
    sweep_hash: str
    """Hash of everything that affects its figures."""
    out: str
    """Folder or URL of its results."""
    card: str | None
    """The card that the figures of unpinned cells are for; null: none was named."""
    excluded: NonNegativeInt
    """Points of the grid that `exclude` leaves out."""
    repeats: NonNegativeInt
    """How often each cell is measured."""
    each_card: bool
    """Whether each cell is measured on every type of card in the cluster. The plan counts one."""
    runs_left: NonNegativeInt
    """Runs that are neither finished nor skipped."""
    least_gpu_s: NonNegativeFloat | None
    """Least GPU time of the runs left, without loading; null where a cell has no `predicted_s`. Unit: GPU x s."""
    journal_reason: str | None
    """Why the finished runs are unknown; null where they are known."""
    cells: tuple[PlannedCell, ...]
    """Every cell, in the written order."""


def main(argv: Sequence[str]) -> int:
    """Print the plan; 0, or 2 where the sweep is invalid."""
    arguments = _arguments(argv)
    try:
        sweep = config.load(arguments.sweep)
        cells = grid.expand(sweep)
    except config.SweepError as error:
        print(printable(str(error)), file=sys.stderr)
        return 2
    planned = _plan(sweep, cells, arguments.card)
    if arguments.json:
        print(planned.model_dump_json(indent=2))
    else:
        print(printable("\n".join(_lines(planned))))
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator plan",
        description="Print every cell of a sweep with its needs and costs, before it runs. Starts nothing.",
    )
    parser.add_argument("sweep", type=Path, help="the sweep file (YAML)")
    parser.add_argument("--card", choices=RAY_CARDS, help="the card of cells that the sweep does not pin to one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


def _plan(sweep: SweepConfig, cells: Sequence[Cell], card: str | None) -> Plan:
    done, journal_reason = _done(sweep)
    planned = [_planned(sweep, *pair, card, done) for pair in zip(cells, forecast(cells, card), strict=True)]
    left = [cell for cell in planned if cell.status == "to do"]
    times = [_least_gpu_s(cell, sweep.repeats - cell.repeats_done) for cell in left]
    return Plan(
        name=sweep.name,
        sweep_hash=sweep.sweep_hash,
        out=redact(sweep.out),
        card=card,
        excluded=grid.points(sweep) - len(cells),
        repeats=sweep.repeats,
        each_card=sweep.placement.one_row_per_card,
        runs_left=sum(sweep.repeats - cell.repeats_done for cell in left),
        least_gpu_s=None if None in times else sum(time for time in times if time is not None),
        journal_reason=journal_reason,
        cells=tuple(planned),
    )


def _least_gpu_s(cell: PlannedCell, repeats: int) -> float | None:
    one = cell.forecast.predicted_s
    return None if one is None else one * cell.gpus * repeats


def _done(sweep: SweepConfig) -> tuple[Collection[str], str | None]:
    """Keys of the finished runs, or why they are unknown."""
    if "://" not in sweep.out and not (Path(sweep.out).expanduser() / "journal").is_dir():
        return (), None  # the usual case needs no pyarrow
    from orchestrator import store
    from orchestrator.results import provenance

    try:
        return store.finished(sweep.out, provenance.fingerprint()), None
    except store.StoreError as error:
        return (), str(error)


def _planned(sweep: SweepConfig, cell: Cell, cost: Forecast, card: str | None, done: Collection[str]) -> PlannedCell:
    finished = sum(Run(cell=cell, repeat=repeat).key in done for repeat in range(sweep.repeats)) if done else 0
    unfinished = finished < sweep.repeats
    reason = (unsupported(cell, _hardware(cell, card)) or cost.cannot_run) if unfinished else None
    share = sweep.placement.gpus_per_process
    if share is None:
        share = 0 if cell.device == "cpu" else 1
    return PlannedCell(
        cell_id=cell.cell_id,
        settings=_settings(cell),
        status="skipped" if reason else "done" if finished == sweep.repeats else "to do",
        reason=reason,
        repeats_done=finished,
        gpus=cell.world_size * share,
        forecast=cost,
    )


def _hardware(cell: Cell, card: str | None) -> Hardware:
    """What is known about the hardware of a cell. Unknown facts rule nothing out."""
    name = cell.accelerator_type or card
    known = CARDS[RAY_CARDS[name]] if name in RAY_CARDS else None
    return Hardware(
        device="cpu" if cell.device == "cpu" else "cuda",
        card=name,
        compute_capability=known.compute_capability if known else None,
        packages=optional_packages(),  # the workers usually have the same
    )


def _settings(cell: Cell) -> dict[str, JsonValue]:
    """A cell's settings by their names in the sweep file, defaults included."""
    settings: dict[str, JsonValue] = {"model": cell.model.name, "precision": cell.precision}
    settings |= {name: getattr(cell, name) for name in config.AXES}
    settings |= {f"generate.{name}": value for name, value in cell.generate.items()}
    return settings | {f"load.{name}": value for name, value in cell.load.items()}


def _mb(megabytes: float) -> str:
    return f"{megabytes:,.0f} MB" if megabytes >= 10 else f"{megabytes:.2g} MB"


def _lines(planned: Plan) -> Iterator[str]:
    """The plan as text: the settings that all cells share, then a line for each cell."""
    shared, varying = _shared(planned.cells)
    yield _headline(planned)
    yield "every cell: " + ", ".join(f"{name} {_text(value)}" for name, value in shared.items() if value is not None)
    numbers = {
        reason: f"[{n}]" for n, reason in enumerate(dict.fromkeys(c.reason for c in planned.cells if c.reason), 1)
    }
    titles = [*varying, "GPUs", "GFLOP", "memory", "fits", "least time", "status"]
    yield ""
    rows = [titles, *(_columns(cell, varying, planned.repeats, numbers) for cell in planned.cells)]
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) != {"-"}]  # footnotes say why
    yield from _aligned(columns)
    yield ""
    yield from (f"{number} {reason}" for reason, number in numbers.items())
    yield from _footnotes(planned)


def _headline(planned: Plan) -> str:
    counts = {status: sum(cell.status == status for cell in planned.cells) for status in ("to do", "done", "skipped")}
    statuses = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)
    excluded = f"; {planned.excluded:,} points excluded" if planned.excluded else ""
    total = f", at least {_duration(planned.least_gpu_s)} of GPU time" if planned.least_gpu_s else ""
    return (
        f"{planned.name}: {_counted(len(planned.cells), 'cell')} ({statuses}{excluded}) x "
        f"{_counted(planned.repeats, 'repeat')}, {_counted(planned.runs_left, 'run')} left{total}; "
        f"results: {planned.out}"
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _shared(cells: Sequence[PlannedCell]) -> tuple[dict[str, JsonValue], list[str]]:
    """Settings with the same value in all cells, and the names of the others."""
    names = list(dict.fromkeys(name for cell in cells for name in cell.settings))
    first = cells[0].settings
    varying = [name for name in names if any(cell.settings.get(name) != first.get(name) for cell in cells)]
    return {name: first.get(name) for name in names if name not in varying}, varying


def _columns(cell: PlannedCell, varying: Iterable[str], repeats: int, numbers: Mapping[str, str]) -> list[str]:
    cost = cell.forecast
    partly = f" ({cell.repeats_done} of {repeats} done)" if 0 < cell.repeats_done < repeats else ""
    return [
        *(_text(cell.settings.get(name)) for name in varying),
        f"{cell.gpus:g}" if cell.gpus else "-",
        "-" if cost.flops is None else f"{cost.flops.value / 1e9:,.3g} {cost.flops.confidence}",
        "-" if cost.memory_mb is None else _mb(cost.memory_mb),
        {None: "-", True: "yes", False: "no"}[cost.fits],
        "-" if cost.predicted_s is None else _duration(cost.predicted_s),
        cell.status + partly + (f" {numbers[cell.reason]}" if cell.reason else ""),
    ]


def _footnotes(planned: Plan) -> Iterator[str]:
    """What the columns mean, and why values are missing."""
    costs = [cell.forecast for cell in planned.cells]
    if any(cost.flops for cost in costs):
        yield "GFLOP: of one inference, with its confidence."
    if any(cost.memory_mb is not None for cost in costs):
        yield "Memory: weights, KV cache and logits of each process, without activations."
    if any(cost.predicted_s is not None for cost in costs):
        yield "Least time: the card's roofline for warm-up and window, without loading."
    if planned.each_card:
        yield "Each cell is measured on every type of card in the cluster; this plan counts one of them."
    if planned.journal_reason:
        yield f"Finished runs are unknown: {planned.journal_reason}"
    for what in ("flops_reason", "card_reason"):
        reasons: dict[str, set[str]] = {}
        for cell in planned.cells:
            if reason := getattr(cell.forecast, what):
                reasons.setdefault(reason, set()).add(str(cell.settings["model"]))
        column = "figures" if what == "flops_reason" else "fit or time"
        for reason, models in reasons.items():
            if what == "flops_reason" or not any(reason == cell.forecast.flops_reason for cell in planned.cells):
                yield f"No {column} for {', '.join(sorted(models))}: {reason}."


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "-"}[value]
    return one_line(str(value))


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= size:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds * 1e3:.3g} ms"


def _aligned(columns: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as lines of plain text. Rich would take seconds for 10,000 rows."""
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
