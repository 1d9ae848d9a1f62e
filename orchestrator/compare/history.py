"""Find the changes over many snapshots: where the level of a cell's figure moved and stayed."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from orchestrator.compare import changes, comparable, noise
from orchestrator.compare.figures import FIGURES, Figure
from orchestrator.compare.levels import levels
from orchestrator.compare.noise import Floats, Noise, SnapshotNoise
from orchestrator.compare.rules import Rules
from orchestrator.compare.snapshot import CellSnapshot, Sample, Snapshot, read_snapshot
from orchestrator.compare.verdicts import Change, HistoryReport
from orchestrator.results.reader import LoadError, folders

_MIN_SNAPSHOTS = 3
"""Two snapshots have a single difference, which cannot separate a change from noise."""


@dataclass(frozen=True)
class Series:
    """One figure over the snapshots; each row is a cell under one set of conditions, each column a snapshot."""

    figure: Figure
    cells: tuple[str, ...]
    """The cell_id of each row; a cell whose conditions changed has several rows."""
    mean: Floats
    """Mean logarithm of the repeats of each snapshot; NaN without repeats."""
    n: Floats
    """Included repeats of each snapshot."""
    excluded: Floats
    """Excluded repeats of each snapshot."""
    span_s: Floats
    """Time from the first to the last start of the included repeats. Unit: s."""
    variance: Floats
    """Relative variance of one repeat, pooled over snapshots and cells; (rows,)."""
    df: Floats
    """Degrees of freedom of `variance`; (rows,)."""


def read_snapshots(path: str) -> list[Snapshot]:
    """Read every snapshot in the folder `path`, in the order of their starts.

    Raises:
        LoadError: There are fewer than three snapshots, or one cannot be read.
    """
    snapshots = sorted((read_snapshot(folder) for folder in folders(path)), key=lambda each: each.info.started_unix_s)
    if len(snapshots) < _MIN_SNAPSHOTS:
        raise LoadError(
            f"{path}: snapshots found: {len(snapshots)} (subfolders with a results.parquet, or Parquet files); at "
            f"least {_MIN_SNAPSHOTS} are needed. To compare two, use `compare BASELINE CANDIDATE`"
        )
    return snapshots


def snapshot_noise(snapshots: list[Snapshot], across: Collection[str]) -> dict[str, SnapshotNoise]:
    """By figure, what a snapshot adds to the noise of the repeats; only figures that some cell has in two snapshots."""
    result = {}
    for figure in FIGURES:
        series = _series(figure, snapshots, across)
        added = _added(series)
        if added is not None:
            result[figure.name] = added
    return result


def history(snapshots: list[Snapshot], rules: Rules) -> HistoryReport:
    """Find every change over `snapshots`, which must be sorted by their start."""
    every = [_series(figure, snapshots, rules.across) for figure in FIGURES]
    known = [(series, added) for series in every if (added := _added(series)) is not None]
    positions = sum(_positions(series) for series, _ in known)
    result = [change for series, added in known for change in _changes(series, added, positions, snapshots, rules)]
    result.sort(key=lambda change: (-change.night_index, change.figure, -change.loss))
    return HistoryReport(
        passed=not any(change.regression for change in result),
        nights=tuple(snapshot.info for snapshot in snapshots),
        threshold=rules.threshold,
        recent=rules.recent,
        false_alarms=rules.false_alarms,
        across=tuple(sorted(rules.across)),
        judged=sum(int(((series.n > 0).sum(axis=1) > 1).sum()) for series, _ in known),
        changes=tuple(result),
        between_night_noise={series.figure.name: added.variance**0.5 for series, added in known},
        repeat_noise={series.figure.name: float(np.median(series.variance)) ** 0.5 for series, _ in known},
        breaks=_breaks(snapshots, rules.across),
        notes=_excluded(every, snapshots),
    )


def _series(figure: Figure, snapshots: list[Snapshot], across: Collection[str]) -> Series:
    rows: dict[tuple[object, ...], list[Sample | None]] = {}
    for column, snapshot in enumerate(snapshots):
        for cell_id, cell in snapshot.cells.items():
            sample = cell.samples.get(figure.name)
            if sample is not None:
                row = rows.setdefault((cell_id, *comparable.key(figure, cell, across)), [None] * len(snapshots))
                row[column] = sample
    if not rows:
        empty = np.zeros((0, len(snapshots)))
        return Series(figure, (), empty, empty, empty, empty, np.zeros(0), np.zeros(0))
    level = levels(figure, list(rows.values()))
    df = np.maximum(level.n - 1, 0)
    own = (df * level.variance).sum(axis=1) / np.maximum(df.sum(axis=1), 1)
    pooled = noise.pooled(own, df.sum(axis=1))
    cells = tuple(str(key[0]) for key in rows)
    return Series(figure, cells, level.mean, level.n, level.excluded, level.span_s, pooled.variance, pooled.df)


def _added(series: Series) -> SnapshotNoise | None:
    """What a snapshot adds, from the differences of consecutive means; None if no cell is in two snapshots."""
    differences, variances = [], []
    for row, n in enumerate(series.n):
        present = np.flatnonzero(n)
        differences.append(np.diff(series.mean[row, present]))
        variances.append(series.variance[row] * (1 / n[present][1:] + 1 / n[present][:-1]))
    if not any(d.size for d in differences) or not np.isfinite(series.variance).all():
        return None
    return noise.between_snapshots(np.concatenate(differences), np.concatenate(variances))


def _positions(series: Series) -> int:
    """Number of possible changes: one between any two consecutive snapshots of each row."""
    return int(np.maximum((series.n > 0).sum(axis=1) - 1, 0).sum())


def _changes(
    series: Series, added: SnapshotNoise, positions: int, snapshots: list[Snapshot], rules: Rules
) -> list[Change]:
    """The changes of one figure; `positions` counts those of all figures, which share the false alarms."""
    variance = np.divide(series.variance[:, None], series.n, out=np.full_like(series.n, np.inf), where=series.n > 0)
    weights = 1 / (variance + added.variance)
    typical = Noise(series.variance / series.n.mean(axis=1, where=series.n > 0), series.df)
    critical = noise.critical(noise.combined_df(typical, added), positions, rules.false_alarms)
    steps = changes.steps(np.nan_to_num(series.mean), weights, critical**2)
    return [_change(series, step, float(critical[step.series]), snapshots, rules) for step in steps]


def _change(series: Series, step: changes.Step, critical: float, snapshots: list[Snapshot], rules: Rules) -> Change:
    figure, cell_id = series.figure, series.cells[step.series]
    log_ratio, half_width = step.after - step.before, critical * step.variance**0.5
    loss = figure.loss(float(np.exp(log_ratio)))
    in_force = step.end == len(snapshots)
    since = step.end - step.start
    doubt = _doubt(series, step, rules.burst_s)
    return Change(
        cell=snapshots[step.start].cells[cell_id].ref,
        figure=figure.name,
        night=snapshots[step.start].info,
        night_index=step.start,
        earliest_index=step.earliest,
        latest_index=step.latest,
        verdict="worse" if loss > 0 else "better",
        before=float(np.exp(step.before)),
        after=float(np.exp(step.after)),
        ratio=float(np.exp(log_ratio)),
        ratio_low=float(np.exp(log_ratio - half_width)),
        ratio_high=float(np.exp(log_ratio + half_width)),
        loss=loss,
        nights_since=since,
        in_force=in_force,
        came_with=_other_differences(snapshots, step.start, cell_id),
        doubt=doubt,
        regression=loss > rules.threshold and in_force and since <= rules.recent and doubt is None,
    )


def _doubt(series: Series, step: changes.Step, burst_s: float) -> str | None:
    """Why one burst of load may have caused the new level; None if several snapshots or spread repeats confirm it."""
    present = np.flatnonzero(series.n[step.series, step.start : step.end]) + step.start
    span_s = float(series.span_s[step.series, present].max())
    if not series.figure.slowed_by_load or present.size > 1 or span_s >= burst_s:
        return None
    return f"doubtful: a single snapshot, all repeats within {span_s:.0f} s"


def _other_differences(snapshots: list[Snapshot], index: int, cell_id: str) -> tuple[str, ...]:
    """Differences from the cell's snapshot before, which may have caused the change."""
    earlier = [snapshot for snapshot in snapshots[:index] if cell_id in snapshot.cells][-1]
    stated = comparable.stated([_pair(earlier, snapshots[index], cell_id)])
    result = [difference.removesuffix(" (1 cell)") for difference in stated]
    old, new = earlier.info.git_commit, snapshots[index].info.git_commit
    return tuple([*result, f"commit {old} -> {new}"] if old != new else result)


def _pair(before: Snapshot, after: Snapshot, cell_id: str) -> tuple[CellSnapshot, CellSnapshot]:
    return before.cells[cell_id], after.cells[cell_id]


def _excluded(every: list[Series], snapshots: list[Snapshot]) -> tuple[str, ...]:
    """Excluded repeats, by figure: load, or an intermittent fault."""
    notes = []
    for series in every:
        excluded = series.excluded
        if not excluded.any():
            continue
        total, repeats, latest = excluded.sum(), excluded.sum() + series.n.sum(), excluded[:, -1].sum()
        most = int(excluded.sum(axis=1).argmax())
        cell_id = series.cells[most]
        label = next(snapshot.cells[cell_id].ref.label for snapshot in snapshots if cell_id in snapshot.cells)
        notes.append(
            f"{series.figure.name}: {total:.0f} of {repeats:.0f} repeats ({latest:.0f} in the latest snapshot) are far "
            "worse than the others of their cell and snapshot and are excluded: load on the machine, or an "
            f"intermittent fault. The most are in {label}: {excluded[most].sum():.0f}, in "
            f"{np.count_nonzero(excluded[most])} of {np.count_nonzero(series.n[most])} snapshots"
        )
    return tuple(notes)


def _breaks(snapshots: list[Snapshot], across: Collection[str]) -> tuple[str, ...]:
    """Snapshots whose cells are not comparable with the snapshot before, and why."""
    broken: dict[tuple[int, str], set[str]] = {}
    facets = dict.fromkeys(facet for figure in FIGURES for facet in figure.must_match)
    for index in range(1, len(snapshots)):
        before, after = snapshots[index - 1 : index + 1]
        for cell_id in before.cells.keys() & after.cells.keys():
            pair = _pair(before, after, cell_id)
            why = comparable.differences(facets, *pair, across) if pair[0].ok and pair[1].ok else None
            if why:
                broken.setdefault((index, why), set()).add(cell_id)
    return tuple(
        f"snapshot {index + 1}: {why} ({len(cells)} {'cell' if len(cells) == 1 else 'cells'})"
        for (index, why), cells in sorted(broken.items())
    )
