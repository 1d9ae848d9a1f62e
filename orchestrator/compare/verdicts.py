"""What `compare` concludes, as records: every number of the text, and what it rests on. `--format json` prints them."""

from typing import Literal

from pydantic import Field

from workers.records import Record

Verdict = Literal["worse", "better", "no difference", "doubtful", "not comparable"]
"""`doubtful`: a difference that one burst of load may have made, for all repeats of a night began within one."""


class NightInfo(Record):
    """One set of results."""

    path: str
    """Where it was read from."""
    sweep: str
    """The sweep's name."""
    started_unix_s: float
    """When its first driver began. Unit: s since 1970."""
    git_commit: str | None
    """Commit of the folder that the sweep file lies in; null outside a checkout."""
    cells: int
    """Cells in it, failed ones included."""


class CellRef(Record):
    """A cell, by its id and by what a reader calls it."""

    cell_id: str
    """Hash of the cell's settings: what cells are matched by."""
    label: str
    """Model, precision, batch size, tokens in and out, and what else is not the default."""
    detail: str | None = None
    """What happened to it, where something did."""


class Comparison(Record):
    """One figure of one cell on two nights."""

    cell: CellRef
    figure: str
    """The figure, as in the `<figure>_over_repeats_` columns."""
    verdict: Verdict
    reason: str | None = None
    """Why there is no comparison, or why it is doubtful; else null."""
    can_fail: bool = False
    """Whether a loss would count: not where one burst of load may have slowed all repeats of a night."""
    baseline: float | None = None
    """Geometric mean over the baseline's repeats that count, in the figure's unit."""
    candidate: float | None = None
    """Geometric mean over the candidate's repeats that count, in the figure's unit."""
    baseline_repeats: int = 0
    """Repeats that the mean is over."""
    candidate_repeats: int = 0
    """Repeats that the mean is over."""
    baseline_set_aside: int = 0
    """Repeats left out: far worse than the cell's others."""
    candidate_set_aside: int = 0
    """Repeats left out: far worse than the cell's others."""
    ratio: float | None = None
    """Candidate over baseline. Unit: 1."""
    ratio_low: float | None = None
    """Lower end of the ratio's interval; all intervals of the report hold together."""
    ratio_high: float | None = None
    """Upper end of the ratio's interval."""
    loss: float | None = None
    """How much worse the candidate is, relative to the baseline; negative where it is better. Unit: 1."""
    noise: float | None = None
    """Pooled relative standard deviation of one repeat. Unit: 1."""
    df: float | None = None
    """Degrees of freedom behind the interval."""
    regression: bool = False
    """Whether it is worse, and by more than the threshold."""


class Fact(Record):
    """A figure without repeats that is not what it was."""

    cell: CellRef
    figure: str
    baseline: float | None
    candidate: float | None
    ratio: float | None
    """Candidate over baseline; null where they cannot be compared. Unit: 1."""
    reason: str | None = None
    """Why they cannot be compared."""


class GateReport(Record):
    """The candidate night against the baseline."""

    passed: bool
    """Whether nothing got worse beyond the threshold, and nothing stopped working or vanished. It proves nothing where
    `judged` is 0 or `nothing_certain`: the exit code is then 2."""
    baseline: NightInfo
    candidate: NightInfo
    threshold: float
    """Relative loss beyond which a worse figure fails the night. Unit: 1."""
    false_alarms: float
    """Nights that would hold any false `worse` or `better`, at most. Unit: 1."""
    across: tuple[str, ...]
    """Facets whose differences were asked to forbid nothing."""
    judged: int
    """Comparisons that share `false_alarms`."""
    burst_s: float
    """The longest burst of load that may not pass for a change. Unit: s."""
    nothing_certain: bool
    """Whether one burst of load may have slowed all repeats of every cell: no loss could then fail the night."""
    between_night_noise: dict[str, float]
    """By figure, the relative standard deviation that a night adds to a cell's mean; empty without earlier nights."""
    comparisons: tuple[Comparison, ...]
    newly_failing: tuple[CellRef, ...]
    """Worked on the baseline and not on the candidate."""
    gone: tuple[CellRef, ...]
    """On the baseline alone."""
    gone_allowed: bool
    """Whether vanished cells were asked to fail nothing."""
    newly_ok: tuple[CellRef, ...]
    """Works again."""
    new: tuple[CellRef, ...]
    """On the candidate alone."""
    still_failing: tuple[CellRef, ...]
    """Works on neither."""
    facts: tuple[Fact, ...]
    """Changed FLOPs and perplexities: stated, they fail nothing."""
    stated: tuple[str, ...]
    """What else differs between the nights (versions, hosts)."""
    notes: tuple[str, ...]
    """What to doubt about this comparison as a whole."""

    @property
    def regressions(self) -> list[Comparison]:
        """What fails the night, the largest loss first."""
        return sorted((c for c in self.comparisons if c.regression), key=lambda c: -(c.loss or 0))


class Change(Record):
    """One figure of one cell took another level and kept it until the next change."""

    cell: CellRef
    figure: str
    night: NightInfo
    """The first night at the new level."""
    night_index: int
    """Its 0-based place among all nights."""
    earliest_index: int
    """The change may as well have come as early as this night (95 %)..."""
    latest_index: int
    """... or as late as this one."""
    verdict: Literal["worse", "better"]
    before: float
    """Mean over the nights from the previous change on, in the figure's unit."""
    after: float
    """Mean over the nights until the next change, in the figure's unit."""
    ratio: float
    """After over before. Unit: 1."""
    ratio_low: float
    """Lower end of the ratio's interval; all intervals of the report hold together."""
    ratio_high: float
    """Upper end of the ratio's interval."""
    loss: float
    """How much worse, relative to before; negative where better. Unit: 1."""
    nights_since: int
    """Nights at the new level, this one included."""
    in_force: bool
    """Whether no later change followed."""
    came_with: tuple[str, ...] = ()
    """What else was not as on the night before (versions, commits)."""
    doubt: str | None = None
    """Why one burst of load may have made it; null where it cannot have."""
    regression: bool = False
    """Worse by more than the threshold, in force, recent, and beyond doubt."""


class HistoryReport(Record):
    """Many nights, and the night of each change."""

    passed: bool
    """Whether no recent, lasting loss beyond the threshold was found."""
    nights: tuple[NightInfo, ...] = Field(min_length=1)
    """By their start."""
    threshold: float
    recent: int
    """A change fails the run while it is at most this many nights old."""
    false_alarms: float
    """Histories that would hold any false change, at most. Unit: 1."""
    across: tuple[str, ...]
    judged: int
    """Series, each a figure of a cell, that were looked at: those with two comparable nights at least."""
    changes: tuple[Change, ...]
    """The latest first."""
    between_night_noise: dict[str, float]
    """By figure, the relative standard deviation that a night adds to a cell's mean."""
    repeat_noise: dict[str, float]
    """By figure, the median cell's relative standard deviation of one repeat."""
    breaks: tuple[str, ...]
    """Where series begin anew, since what must match does not."""
    notes: tuple[str, ...]
    """What to doubt about this history as a whole."""

    @property
    def regressions(self) -> list[Change]:
        """What fails the run, the largest loss first."""
        return sorted((c for c in self.changes if c.regression), key=lambda c: -c.loss)
