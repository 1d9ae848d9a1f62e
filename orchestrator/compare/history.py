"""Many nights -> the night of each change: where the level of a cell's figure moved and stayed."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from orchestrator.compare import changes, comparable, noise
from orchestrator.compare.figures import FIGURES, Figure
from orchestrator.compare.levels import levels
from orchestrator.compare.night import CellNight, Night, Sample, read_night
from orchestrator.compare.noise import Floats, NightNoise, Noise
from orchestrator.compare.rules import Rules
from orchestrator.compare.verdicts import Change, HistoryReport
from orchestrator.load import LoadError, folders

_FEWEST_NIGHTS = 3
"""Two nights have one difference between them: what is noise and what a change cannot be told."""


@dataclass(frozen=True)
class Series:
    """One figure's cells over the nights; rows are cells under one set of conditions, columns are nights."""

    figure: Figure
    cells: tuple[str, ...]
    """The cell_id of each row; a cell whose conditions changed has several rows."""
    mean: Floats
    """Mean logarithm of each night's repeats; NaN where there is none."""
    n: Floats
    """Repeats of each night that count; 0 where there is none."""
    set_aside: Floats
    """Repeats of each night that do not."""
    span_s: Floats
    """From the first to the last start of them. Unit: s."""
    variance: Floats
    """Relative variance of one repeat, pooled over nights and cells; (rows,)."""
    df: Floats
    """Its degrees of freedom; (rows,)."""


def read_nights(path: str) -> list[Night]:
    """Every night in the folder `path`, by its start.

    Raises:
        LoadError: fewer than three nights, or one that cannot be read.
    """
    found = sorted((read_night(folder) for folder in folders(path)), key=lambda night: night.info.started_unix_s)
    if len(found) < _FEWEST_NIGHTS:
        raise LoadError(
            f"{path}: holds {len(found)} nights (subfolders with a results.parquet, or Parquet files), and "
            f"{_FEWEST_NIGHTS} are the fewest; two nights are compared with `compare BASELINE CANDIDATE`"
        )
    return found


def night_noise(nights: list[Night], across: Collection[str]) -> dict[str, NightNoise]:
    """By figure, what a night adds to the noise of the repeats; figures that no cell has on two nights are left out."""
    found = {}
    for figure in FIGURES:
        series = _series(figure, nights, across)
        added = _added(series)
        if added is not None:
            found[figure.name] = added
    return found


def history(nights: list[Night], rules: Rules) -> HistoryReport:
    """Find every change over `nights`, which are sorted by their start."""
    every = [_series(figure, nights, rules.across) for figure in FIGURES]
    known = [(series, added) for series in every if (added := _added(series)) is not None]
    places = sum(_places(series) for series, _ in known)
    found = [change for series, added in known for change in _changes(series, added, places, nights, rules)]
    found.sort(key=lambda change: (-change.night_index, change.figure, -change.loss))
    return HistoryReport(
        passed=not any(change.regression for change in found),
        nights=tuple(night.info for night in nights),
        threshold=rules.threshold,
        recent=rules.recent,
        false_alarms=rules.false_alarms,
        across=tuple(sorted(rules.across)),
        judged=sum(int(((series.n > 0).sum(axis=1) > 1).sum()) for series, _ in known),
        changes=tuple(found),
        between_night_noise={series.figure.name: added.variance**0.5 for series, added in known},
        repeat_noise={series.figure.name: float(np.median(series.variance)) ** 0.5 for series, _ in known},
        breaks=_breaks(nights, rules.across),
        notes=_left_out(every, nights),
    )


def _series(figure: Figure, nights: list[Night], across: Collection[str]) -> Series:
    rows: dict[tuple[object, ...], list[Sample | None]] = {}
    for column, night in enumerate(nights):
        for cell_id, cell in night.cells.items():
            sample = cell.samples.get(figure.name)
            if sample is not None:
                row = rows.setdefault((cell_id, *comparable.key(figure, cell, across)), [None] * len(nights))
                row[column] = sample
    if not rows:
        empty = np.zeros((0, len(nights)))
        return Series(figure, (), empty, empty, empty, empty, np.zeros(0), np.zeros(0))
    found = levels(figure, list(rows.values()))
    df = np.maximum(found.n - 1, 0)
    own = (df * found.variance).sum(axis=1) / np.maximum(df.sum(axis=1), 1)
    pooled = noise.pooled(own, df.sum(axis=1))
    cells = tuple(str(key[0]) for key in rows)
    return Series(figure, cells, found.mean, found.n, found.set_aside, found.span_s, pooled.variance, pooled.df)


def _added(series: Series) -> NightNoise | None:
    """What nights add, from each night's mean less that of the cell's night before; None where no cell has two."""
    differences, variances = [], []
    for row, n in enumerate(series.n):
        present = np.flatnonzero(n)
        differences.append(np.diff(series.mean[row, present]))
        variances.append(series.variance[row] * (1 / n[present][1:] + 1 / n[present][:-1]))
    if not any(d.size for d in differences) or not np.isfinite(series.variance).all():
        return None
    return noise.between_nights(np.concatenate(differences), np.concatenate(variances))


def _places(series: Series) -> int:
    """Where a change can stand: between any two nights in a row that a series has."""
    return int(np.maximum((series.n > 0).sum(axis=1) - 1, 0).sum())


def _changes(series: Series, added: NightNoise, places: int, nights: list[Night], rules: Rules) -> list[Change]:
    """The changes of one figure; `places` is over all figures, which share the false alarms."""
    variance = np.divide(series.variance[:, None], series.n, out=np.full_like(series.n, np.inf), where=series.n > 0)
    weights = 1 / (variance + added.variance)
    typical = Noise(series.variance / series.n.mean(axis=1, where=series.n > 0), series.df)
    critical = noise.critical(noise.combined_df(typical, added), places, rules.false_alarms)
    steps = changes.steps(np.nan_to_num(series.mean), weights, critical**2)
    return [_change(series, step, float(critical[step.series]), nights, rules) for step in steps]


def _change(series: Series, step: changes.Step, critical: float, nights: list[Night], rules: Rules) -> Change:
    figure, cell_id = series.figure, series.cells[step.series]
    log_ratio, reach = step.after - step.before, critical * step.variance**0.5
    loss = figure.loss(float(np.exp(log_ratio)))
    in_force = step.end == len(nights)
    since = step.end - step.start
    doubt = _doubt(series, step, rules.burst_s)
    return Change(
        cell=nights[step.start].cells[cell_id].ref,
        figure=figure.name,
        night=nights[step.start].info,
        night_index=step.start,
        earliest_index=step.earliest,
        latest_index=step.latest,
        verdict="worse" if loss > 0 else "better",
        before=float(np.exp(step.before)),
        after=float(np.exp(step.after)),
        ratio=float(np.exp(log_ratio)),
        ratio_low=float(np.exp(log_ratio - reach)),
        ratio_high=float(np.exp(log_ratio + reach)),
        loss=loss,
        nights_since=since,
        in_force=in_force,
        came_with=_came_with(nights, step.start, cell_id),
        doubt=doubt,
        regression=loss > rules.threshold and in_force and since <= rules.recent and doubt is None,
    )


def _doubt(series: Series, step: changes.Step, burst_s: float) -> str | None:
    """Why one burst of load may have made the new level; None where several nights or spread repeats bear it out."""
    nights = np.flatnonzero(series.n[step.series, step.start : step.end]) + step.start
    span_s = float(series.span_s[step.series, nights].max())
    if not series.figure.slowed_by_load or nights.size > 1 or span_s >= burst_s:
        return None
    return f"doubtful: one night, all repeats within {span_s:.0f} s"


def _came_with(nights: list[Night], index: int, cell_id: str) -> tuple[str, ...]:
    """What else was not as on the cell's night before: the first suspects."""
    earlier = [night for night in nights[:index] if cell_id in night.cells][-1]
    found = [what.removesuffix(" (1 cell)") for what in comparable.stated([_pair(earlier, nights[index], cell_id)])]
    old, new = earlier.info.git_commit, nights[index].info.git_commit
    return tuple([*found, f"commit {old} -> {new}"] if old != new else found)


def _pair(before: Night, after: Night, cell_id: str) -> tuple[CellNight, CellNight]:
    return before.cells[cell_id], after.cells[cell_id]


def _left_out(every: list[Series], nights: list[Night]) -> tuple[str, ...]:
    """Repeats that were set aside, by figure: load, or a fault that comes and goes."""
    notes = []
    for series in every:
        left_out = series.set_aside
        if not left_out.any():
            continue
        total, repeats, latest = left_out.sum(), left_out.sum() + series.n.sum(), left_out[:, -1].sum()
        most = int(left_out.sum(axis=1).argmax())
        cell_id = series.cells[most]
        label = next(night.cells[cell_id].ref.label for night in nights if cell_id in night.cells)
        notes.append(
            f"{series.figure.name}: {total:.0f} of {repeats:.0f} repeats ({latest:.0f} on the latest night) are far "
            "worse than the others of their cell and night and are set aside: load on the machine, or a fault that "
            f"comes and goes; the most in {label}: {left_out[most].sum():.0f}, on "
            f"{np.count_nonzero(left_out[most])} of {np.count_nonzero(series.n[most])} nights"
        )
    return tuple(notes)


def _breaks(nights: list[Night], across: Collection[str]) -> tuple[str, ...]:
    """Nights from which on cells cannot be compared with the night before, and why."""
    found: dict[tuple[int, str], set[str]] = {}
    facets = dict.fromkeys(facet for figure in FIGURES for facet in figure.must_match)
    for index in range(1, len(nights)):
        before, after = nights[index - 1 : index + 1]
        for cell_id in before.cells.keys() & after.cells.keys():
            pair = _pair(before, after, cell_id)
            why = comparable.differences(facets, *pair, across) if pair[0].ok and pair[1].ok else None
            if why:
                found.setdefault((index, why), set()).add(cell_id)
    return tuple(
        f"night {index + 1}: {why} ({len(cells)} {'cell' if len(cells) == 1 else 'cells'})"
        for (index, why), cells in sorted(found.items())
    )
