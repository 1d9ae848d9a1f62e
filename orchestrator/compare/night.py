"""Results -> what one night says of each cell: its figures over the repeats, and what they were taken under."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from orchestrator import labels
from orchestrator.compare.figures import FACETS, FACTS, FIGURES, STATED, Row
from orchestrator.compare.verdicts import CellRef, NightInfo
from orchestrator.energy_reasons import spelled
from orchestrator.load import LoadError, load

_SETTINGS = ("model", "precision", "batch_size", "input_tokens", "output_tokens")


@dataclass(frozen=True)
class Sample:
    """A figure over a night's repeats."""

    mean: float
    """In the figure's unit."""
    std: float | None
    """Sample standard deviation; None with a single repeat."""
    n: int

    @property
    def variance(self) -> float:
        """Of the logarithm of one repeat, to first order: (std / mean)^2; 0 with a single repeat."""
        return (self.std / self.mean) ** 2 if self.std is not None else 0.0


@dataclass(frozen=True)
class CellNight:
    """One cell on one night."""

    ref: CellRef
    ok: bool
    failure: str
    """Status and error, for those that are not ok."""
    samples: dict[str, Sample]
    """By figure; one that has no usable value is not in here."""
    missing: dict[str, str]
    """By figure: why it is not in `samples`."""
    facts: dict[str, float | None]
    facets: dict[str, str | None]
    stated: dict[str, str | None]
    mixed: tuple[str, ...]


@dataclass(frozen=True)
class Night:
    """One set of results."""

    info: NightInfo
    cells: dict[str, CellNight]
    """By cell_id, in the results' order."""


def read_night(path: str) -> Night:
    """Load the results at `path`.

    Raises:
        LoadError: unreadable, empty, or with two rows for one cell.
    """
    rows: list[Row] = load(path).results.select(_columns()).to_pylist()
    if not rows:
        raise LoadError(f"{path}: results without a single cell")
    twice = [cell_id for cell_id, n in Counter(row["cell_id"] for row in rows).items() if n > 1]
    if twice:
        raise LoadError(f"{path}: cell {twice[0]} has several rows; one night has one row a cell")
    labels = Counter(_label(row) for row in rows)
    cells = {row["cell_id"]: _cell(row, labels[_label(row)] > 1) for row in rows}
    first = min(rows, key=lambda row: row["started_unix_s"])
    info = NightInfo(
        path=path,
        sweep=first["sweep"],
        started_unix_s=first["started_unix_s"],
        git_commit=first["git_commit"],
        cells=len(cells),
    )
    return Night(info=info, cells=cells)


def _columns() -> list[str]:
    spreads = [f"{figure.name}_over_repeats_{part}" for figure in FIGURES for part in ("mean", "std", "n")]
    facets = ["device", "gpu_names", "cpu_name", "cpu_threads", "driver_version", "timing_method", "energy_method"]
    facets += ["energy_confidence", "memory_method", "flops_method", "flops_confidence"]
    state = ["status", "error_type", "error_message", "energy_reasons", "latency_reason", "mixed"]
    cell = ["cell_id", *_SETTINGS, "attention", "settings"]
    about = ["sweep", "git_commit", "started_unix_s"]
    return [*cell, *state, *spreads, *facets, *STATED.values(), *(fact.name for fact in FACTS), *about]


def _cell(row: Row, ambiguous: bool) -> CellNight:
    label = f"{_label(row)} #{row['cell_id'][:6]}" if ambiguous else _label(row)
    samples, missing = {}, {}
    for figure in FIGURES:
        mean, std, n = (row[f"{figure.name}_over_repeats_{part}"] for part in ("mean", "std", "n"))
        if mean is not None and mean > 0 and n > 0:
            samples[figure.name] = Sample(mean, std if n > 1 else None, n)
        else:
            missing[figure.name] = _why_missing(row, figure.name, mean)
    return CellNight(
        ref=CellRef(cell_id=row["cell_id"], label=label),
        ok=row["status"] == "ok",
        failure=": ".join(str(part) for part in (row["status"], row["error_type"], row["error_message"]) if part),
        samples=samples,
        missing=missing,
        facts={fact.name: row[fact.name] for fact in FACTS},
        facets={name: read(row) for name, read in FACETS.items()},
        stated={name: _text(row[column]) for name, column in STATED.items()},
        mixed=tuple(row["mixed"] or ()),
    )


def _why_missing(row: Row, figure: str, mean: float | None) -> str:
    if mean is not None:
        return f"{mean:g} has no ratio"
    if row["status"] != "ok":
        return f"the cell is {row['status']}"
    if figure.startswith("energy") and row["energy_reasons"]:
        return spelled(row["energy_reasons"])
    if figure.startswith(("ttft", "itl", "tpot", "e2e")) and row["latency_reason"]:
        return str(row["latency_reason"])
    return "null"


def _label(row: Row) -> str:
    label = f"{row['model']} {row['precision']} batch {row['batch_size']}, {row['input_tokens']}+{row['output_tokens']}"
    return f"{label} {labels.spelled(labels.others(row))}".rstrip()


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return "+".join(sorted(value)) if isinstance(value, list) else json.dumps(value, sort_keys=True)
