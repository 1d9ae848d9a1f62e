"""The records of a comparison, as `compare --format json` prints them."""

from typing import Literal

from pydantic import Field

from workers.records import Record

Verdict = Literal["worse", "better", "no difference", "doubtful", "not comparable"]
"""`doubtful`: one burst of load may have caused the difference, because all repeats of a snapshot began within one."""


class SnapshotInfo(Record):
    """The results of one sweep."""

    path: str
    """Path or URL that it was read from."""
    sweep: str
    """The sweep's name."""
    started_unix_s: float
    """Start of its first driver. Unit: s since 1970."""
    git_commit: str | None
    """Commit of the sweep file's folder; null outside a checkout."""
    cells: int
    """Number of cells, including failed ones."""


class CellRef(Record):
    """A cell, by its id and a readable label."""

    cell_id: str
    """Hash of the cell's settings, by which cells are matched."""
    label: str
    """Model, precision, batch size, input and output tokens, and other settings that are not the default."""
    detail: str | None = None
    """Its status and error, if relevant."""


class Comparison(Record):
    """One figure of one cell in two snapshots."""

    cell: CellRef
    figure: str
    """The figure, as in the `<figure>_over_repeats_` columns."""
    verdict: Verdict
    reason: str | None = None
    """Why the figure is not comparable or the difference is doubtful; else null."""
    can_fail: bool = False
    """Whether a loss can fail; false if one burst of load may have slowed all repeats of a snapshot."""
    baseline: float | None = None
    """Geometric mean over the baseline's included repeats, in the figure's unit."""
    candidate: float | None = None
    """Geometric mean over the candidate's included repeats, in the figure's unit."""
    baseline_repeats: int = 0
    """Included repeats of the baseline."""
    candidate_repeats: int = 0
    """Included repeats of the candidate."""
    baseline_set_aside: int = 0
    """Excluded repeats of the baseline, far worse than the cell's others."""
    candidate_set_aside: int = 0
    """Excluded repeats of the candidate, far worse than the cell's others."""
    ratio: float | None = None
    """Candidate over baseline. Unit: 1."""
    ratio_low: float | None = None
    """Lower end of the ratio's interval; all intervals of the report hold simultaneously."""
    ratio_high: float | None = None
    """Upper end of the ratio's interval."""
    loss: float | None = None
    """How much worse the candidate is, relative to the baseline; negative if it is better. Unit: 1."""
    noise: float | None = None
    """Pooled relative standard deviation of one repeat. Unit: 1."""
    df: float | None = None
    """Degrees of freedom of `noise`."""
    regression: bool = False
    """Whether it is worse by more than the threshold."""


class Fact(Record):
    """A figure without repeats whose value changed."""

    cell: CellRef
    figure: str
    baseline: float | None
    candidate: float | None
    ratio: float | None
    """Candidate over baseline; null if they cannot be compared. Unit: 1."""
    reason: str | None = None
    """Why they cannot be compared; else null."""


class GateReport(Record):
    """The comparison of a candidate snapshot with a baseline."""

    passed: bool
    """Whether no figure got worse beyond the threshold, and no cell stopped working or vanished. It proves nothing if
    `judged` is 0 or `nothing_certain` is true; the exit code is then 2."""
    baseline: SnapshotInfo
    candidate: SnapshotInfo
    threshold: float
    """Relative loss beyond which a worse figure fails. Unit: 1."""
    false_alarms: float
    """Largest share of reports without a change that contain a false `worse` or `better`. Unit: 1."""
    across: tuple[str, ...]
    """Facets that may differ (`--across`)."""
    judged: int
    """Number of comparable figures, which share `false_alarms`."""
    burst_s: float
    """The longest expected burst of load (`--burst`). Unit: s."""
    nothing_certain: bool
    """Whether one burst of load may have slowed all repeats of every cell, so that no loss can fail."""
    between_night_noise: dict[str, float]
    """By figure, the relative standard deviation that a snapshot adds to a cell's mean; empty without `--nights`."""
    comparisons: tuple[Comparison, ...]
    newly_failing: tuple[CellRef, ...]
    """Cells that worked in the baseline and fail in the candidate."""
    gone: tuple[CellRef, ...]
    """Cells in the baseline only."""
    gone_allowed: bool
    """Whether cells may be gone (`--allow-gone`)."""
    newly_ok: tuple[CellRef, ...]
    """Cells that failed in the baseline and work in the candidate."""
    new: tuple[CellRef, ...]
    """Cells in the candidate only."""
    still_failing: tuple[CellRef, ...]
    """Cells that fail in both snapshots."""
    facts: tuple[Fact, ...]
    """Changed FLOPs and perplexities, which do not fail."""
    stated: tuple[str, ...]
    """Other differences between the snapshots (versions, hosts)."""
    notes: tuple[str, ...]
    """Warnings about this comparison as a whole."""

    @property
    def regressions(self) -> list[Comparison]:
        """The comparisons that fail, the largest loss first."""
        return sorted((c for c in self.comparisons if c.regression), key=lambda c: -(c.loss or 0))


class Change(Record):
    """A change in the level of one figure of one cell, which lasted until the next change."""

    cell: CellRef
    figure: str
    night: SnapshotInfo
    """The first snapshot at the new level."""
    night_index: int
    """Its 0-based position among all snapshots."""
    earliest_index: int
    """Position of the earliest snapshot at which the change may have happened (95 %)."""
    latest_index: int
    """Position of the latest snapshot at which the change may have happened (95 %)."""
    verdict: Literal["worse", "better"]
    before: float
    """Mean over the snapshots since the previous change, in the figure's unit."""
    after: float
    """Mean over the snapshots until the next change, in the figure's unit."""
    ratio: float
    """After over before. Unit: 1."""
    ratio_low: float
    """Lower end of the ratio's interval; all intervals of the report hold simultaneously."""
    ratio_high: float
    """Upper end of the ratio's interval."""
    loss: float
    """How much worse it is, relative to before; negative if it is better. Unit: 1."""
    nights_since: int
    """Number of snapshots at the new level, including this one."""
    in_force: bool
    """Whether no later change followed."""
    came_with: tuple[str, ...] = ()
    """Other differences from the snapshot before (versions, commits)."""
    doubt: str | None = None
    """Why one burst of load may have caused the change; null if it cannot have."""
    regression: bool = False
    """Whether it is worse by more than the threshold, in force, recent and not doubtful."""


class HistoryReport(Record):
    """The changes over many snapshots."""

    passed: bool
    """Whether no recent, lasting loss beyond the threshold was found."""
    nights: tuple[SnapshotInfo, ...] = Field(min_length=1)
    """The snapshots, by their start."""
    threshold: float
    """Relative loss beyond which a change fails. Unit: 1."""
    recent: int
    """A change fails while it is at most this many snapshots old."""
    false_alarms: float
    """Largest share of reports without a change that contain a false one. Unit: 1."""
    across: tuple[str, ...]
    """Facets that may differ (`--across`)."""
    judged: int
    """Number of series, one per figure and cell, with at least two comparable snapshots."""
    changes: tuple[Change, ...]
    """The latest first."""
    between_night_noise: dict[str, float]
    """By figure, the relative standard deviation that a snapshot adds to a cell's mean."""
    repeat_noise: dict[str, float]
    """By figure, the median cell's relative standard deviation of one repeat."""
    breaks: tuple[str, ...]
    """Snapshots that are not comparable with the one before, where series restart."""
    notes: tuple[str, ...]
    """Warnings about this history as a whole."""

    @property
    def regressions(self) -> list[Change]:
        """The changes that fail, the largest loss first."""
        return sorted((c for c in self.changes if c.regression), key=lambda c: -c.loss)
