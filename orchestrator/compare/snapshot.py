"""Read a results folder as a snapshot: the figures of each cell over its repeats, and how they were measured."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from orchestrator.compare.figures import FACETS, FACTS, FIGURES, STATED, Row
from orchestrator.compare.verdicts import CellRef, SnapshotInfo
from orchestrator.results import labels
from orchestrator.results.energy_reasons import explain
from orchestrator.results.reader import LoadError, load, unexpected_content
from workers.records.text import one_line

_LAST_TIME_S = 253_402_300_800.0
"""The year 10000, the first that `datetime` cannot hold."""
_SETTINGS = ("model", "precision", "batch_size", "input_tokens", "output_tokens")


@dataclass(frozen=True)
class Sample:
    """One figure of one cell over the repeats of a snapshot."""

    mean: float
    """In the figure's unit."""
    variance: float
    """Variance of the logarithm of one repeat; 0 with a single repeat."""
    n: int
    """Number of repeats."""
    values: tuple[float, ...] = ()
    """The value of each repeat; empty in files that are older than that column."""
    starts: tuple[float, ...] = ()
    """The start of each repeat. Unit: s since 1970."""


@dataclass(frozen=True)
class CellSnapshot:
    """One cell in one snapshot."""

    ref: CellRef
    ok: bool
    failure: str
    """Status and error of a cell that is not ok."""
    samples: dict[str, Sample]
    """By figure; only figures with a usable value."""
    missing: dict[str, str]
    """By figure, why it has no sample. Figures that do not apply to this cell are in neither dictionary."""
    facts: dict[str, float | None]
    facets: dict[str, str | None]
    stated: dict[str, str | None]
    mixed: tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """The results of one sweep."""

    info: SnapshotInfo
    cells: dict[str, CellSnapshot]
    """By cell_id, in the order of the results."""


def read_snapshot(path: str) -> Snapshot:
    """Load the results at `path`.

    Raises:
        LoadError: The results cannot be read, are empty, have two rows for one cell, or hold invalid values.
    """
    try:
        return _snapshot(path)
    except LoadError:
        raise
    except Exception as exc:
        raise unexpected_content(path, exc) from exc


def _snapshot(path: str) -> Snapshot:
    table = load(path).results
    absent = [name for name in _columns() if name not in table.column_names]
    if absent:
        raise LoadError(f"{path}: no column {absent[0]!r}{f' (and {len(absent) - 1} more)' if absent[1:] else ''}")
    rows: list[Row] = table.select(
        [*_columns(), *(name for name in _newer_columns() if name in table.column_names)]
    ).to_pylist()
    if not rows:
        raise LoadError(f"{path}: the results hold no cells")
    for row in rows:
        _check(row, path)
    twice = [cell_id for cell_id, n in Counter(row["cell_id"] for row in rows).items() if n > 1]
    if twice:
        raise LoadError(f"{path}: cell {twice[0]} has several rows; a snapshot has one row per cell")
    labels = Counter(_label(row) for row in rows)
    cells = {row["cell_id"]: _cell(row, labels[_label(row)] > 1) for row in rows}
    first = min(rows, key=lambda row: row["started_unix_s"])
    info = SnapshotInfo(
        path=path,
        sweep=first["sweep"],
        started_unix_s=first["started_unix_s"],
        git_commit=first["git_commit"],
        cells=len(cells),
    )
    return Snapshot(info=info, cells=cells)


def _columns() -> list[str]:
    spreads = [f"{figure.name}_over_repeats_{part}" for figure in FIGURES for part in ("mean", "std", "n")]
    facets = ["device", "gpu_names", "cpu_name", "cpu_threads", "driver_version", "timing_method", "energy_method"]
    facets += ["energy_confidence", "memory_method", "flops_method", "flops_confidence"]
    state = ["status", "error_type", "error_message", "energy_reasons", "latency_reason", "mixed"]
    cell = ["cell_id", *_SETTINGS, "attention", "settings"]
    sweep = ["sweep", "git_commit", "started_unix_s"]
    return [*cell, *state, *spreads, *facets, *STATED.values(), *(fact.name for fact in FACTS), *sweep]


def _newer_columns() -> list[str]:
    """Columns that files of the first versions do not have."""
    spreads = [f"{figure.name}_over_repeats_{part}" for figure in FIGURES for part in ("log_std", "values")]
    return [*spreads, "repeat_started_unix_s"]


def _check(row: Row, path: str) -> None:
    """Reject values that no sweep writes.

    Raises:
        LoadError: A number is not finite, a start time is not a date, or a figure does not list all its repeats.
    """
    place = f"{path}: cell {row['cell_id']}"
    for name, value in row.items():
        numbers = value if isinstance(value, list) else [value]
        invalid = [number for number in numbers if isinstance(number, float) and not math.isfinite(number)]
        if invalid:
            raise LoadError(f"{place}: {name} is {invalid[0]}, not a finite number")
    for time in (row["started_unix_s"], *(row.get("repeat_started_unix_s") or ())):
        if time is None or not 0 <= time < _LAST_TIME_S:
            raise LoadError(f"{place}: the start time {time} (s since 1970) is not a valid date")
    for figure in FIGURES:
        values, n = row.get(f"{figure.name}_over_repeats_values"), row[f"{figure.name}_over_repeats_n"]
        known = [value for value in values or () if value is not None]
        if values and len(known) != n:
            raise LoadError(f"{place}: {figure.name}: number of repeats is {n}, number of values is {len(known)}")


def _cell(row: Row, ambiguous: bool) -> CellSnapshot:
    label = f"{_label(row)} #{row['cell_id'][:6]}" if ambiguous else _label(row)
    facets = {name: read(row) for name, read in FACETS.items()}
    samples, missing = {}, {}
    for figure in FIGURES:
        if any(facets[facet] in values for facet, values in figure.not_applicable.items()):
            continue
        sample = _sample(row, figure.name)
        if sample is not None:
            samples[figure.name] = sample
        else:
            missing[figure.name] = _why_missing(row, figure.name, row[f"{figure.name}_over_repeats_mean"])
    return CellSnapshot(
        ref=CellRef(cell_id=row["cell_id"], label=label),
        ok=row["status"] == "ok",
        failure=one_line(": ".join(str(row[part]) for part in ("status", "error_type", "error_message") if row[part])),
        samples=samples,
        missing=missing,
        facts={fact.name: row[fact.name] for fact in FACTS},
        facets=facets,
        stated={name: _text(row[column]) for name, column in STATED.items()},
        mixed=tuple(row["mixed"] or ()),
    )


def _sample(row: Row, figure: str) -> Sample | None:
    """The figure over the cell's repeats; None without a usable value."""
    mean, std, n = (row[f"{figure}_over_repeats_{part}"] for part in ("mean", "std", "n"))
    if mean is None or mean <= 0 or not n:
        return None
    log_std = row.get(f"{figure}_over_repeats_log_std")
    relative = log_std if log_std is not None else (std or 0.0) / mean
    known = [value for value in row.get(f"{figure}_over_repeats_values") or () if value is not None]
    if min(known, default=0.0) <= 0:  # zero has no logarithm
        return Sample(mean, relative**2 if n > 1 else 0.0, n)
    every = zip(row[f"{figure}_over_repeats_values"], row.get("repeat_started_unix_s") or (), strict=False)
    starts = tuple(start for value, start in every if value is not None)
    return Sample(mean, relative**2 if n > 1 else 0.0, n, tuple(known), starts)


def _why_missing(row: Row, figure: str, mean: float | None) -> str:
    if mean is not None:
        return f"{mean:g} is not positive"
    if row["status"] != "ok":
        return f"the cell has status {row['status']}"
    if figure.startswith("energy") and row["energy_reasons"]:
        return explain(row["energy_reasons"])
    if figure.startswith(("ttft", "itl", "tpot", "e2e")) and row["latency_reason"]:
        return str(row["latency_reason"])
    return "null"


def _label(row: Row) -> str:
    label = f"{row['model']} {row['precision']} batch {row['batch_size']}, {row['input_tokens']}+{row['output_tokens']}"
    return one_line(f"{label} {labels.format_settings(labels.other_settings(row))}")


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return "+".join(sorted(value)) if isinstance(value, list) else json.dumps(value, sort_keys=True)
