"""The sections of a report, shared by text and Markdown: the verdict first, then findings, warnings and details."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Context, Decimal

from orchestrator.compare.figures import FIGURES
from orchestrator.compare.verdicts import CellRef, Change, Comparison, GateReport, HistoryReport, SnapshotInfo
from workers.records.text import printable

_UNITS = {figure.name: figure.unit for figure in FIGURES}


@dataclass(frozen=True)
class Section:
    """A table, or a list of sentences if `header` is empty."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def sections(report: GateReport | HistoryReport) -> tuple[str, list[Section]]:
    """The verdict in one line, and the sections below it that are not empty."""
    verdict, tables = _gate(report) if isinstance(report, GateReport) else _history(report)
    return printable(verdict), [_printable(section) for section in tables if section.rows]


def _printable(section: Section) -> Section:
    """Escape control characters in names and errors, which could change the terminal."""
    return replace(section, rows=[tuple(map(printable, row)) for row in section.rows])


def date(snapshot: SnapshotInfo) -> str:
    """Date and minute (UTC) at which the snapshot began."""
    return datetime.fromtimestamp(snapshot.started_unix_s, UTC).strftime("%Y-%m-%d %H:%M")


def _gate(report: GateReport) -> tuple[str, list[Section]]:
    worse = report.regressions
    minor = [c for c in report.comparisons if c.verdict == "worse" and not c.regression]
    better = [c for c in report.comparisons if c.verdict == "better"]
    header = ("cell", "figure", "change", _interval_title(report.false_alarms), "baseline", "candidate")
    return _gate_verdict(report), [
        Section(f"Worse, by more than {_percent(report.threshold)}", header, [_row(c) for c in worse]),
        Section("Doubtful: one burst of load may be the cause", (*header, "why"), _doubtful(report)),
        Section("Stopped working", ("cell", "error"), _refs(report.newly_failing)),
        Section("Gone" + (" (allowed)" if report.gone_allowed else ""), ("cell", "baseline"), _refs(report.gone)),
        Section("Not comparable", ("cells", "figures", "why"), _not_comparable(report.comparisons)),
        Section("Warnings", (), [(note,) for note in report.notes]),
        Section(f"Worse, by at most {_percent(report.threshold)}", header, [_row(c) for c in minor]),
        Section("Better", header, [_row(c) for c in sorted(better, key=lambda c: c.loss or 0)]),
        Section("Changed FLOPs and perplexity", ("cell", "figure", "change", "why not comparable"), _facts(report)),
        Section("Works again", ("cell", "earlier error"), _refs(report.newly_ok)),
        Section("Fails in both snapshots", ("cell", "error"), _refs(report.still_failing)),
        Section("New", ("cell", "candidate"), _refs(report.new)),
        Section("Other differences", (), [(line,) for line in report.stated]),
        Section("Details", (), [(line,) for line in _details(report)]),
    ]


def _gate_verdict(report: GateReport) -> str:
    parts = []
    if report.regressions:
        first = report.regressions[0]
        cells = len({c.cell.cell_id for c in report.regressions})
        parts.append(
            f"{_plural(len(report.regressions), 'regression')} in {_plural(cells, 'cell')}, the largest "
            f"{first.cell.label} {first.figure} {_change(first)} [{_interval(first)}]"
        )
    if report.newly_failing:
        parts.append(f"{_plural(len(report.newly_failing), 'cell')} stopped working")
    if report.gone and not report.gone_allowed:
        parts.append(f"{_plural(len(report.gone), 'cell')} gone")
    if parts:
        return "FAILED: " + "; ".join(parts)
    if not report.judged:
        return "NOTHING COMPARED: no figure of any cell is comparable"
    if report.nothing_certain:
        return (
            f"NOTHING CERTAIN: one burst of load (up to {report.burst_s:g} s) may have slowed all repeats of every "
            "cell; spread the repeats (more repeats, longer windows), or set --burst to the longest expected burst"
        )
    unjudged = len(report.comparisons) - report.judged
    doubtful = sum(c.verdict == "doubtful" for c in report.comparisons)
    unable = sum(not c.can_fail for c in report.comparisons) - unjudged
    counts = {"doubtful": doubtful, "cannot fail (repeats may share one burst)": unable, "not comparable": unjudged}
    limits = "".join(f"; {count} {limit}" for limit, count in counts.items() if count)
    return f"PASSED: no loss beyond {_percent(report.threshold)} in {_plural(report.judged, 'comparison')}{limits}"


def _history(report: HistoryReport) -> tuple[str, list[Section]]:
    header = (
        "snapshot",
        "cell",
        "figure",
        "change",
        _interval_title(report.false_alarms),
        "before",
        "after",
        "snapshots since",
        "notes",
    )
    return _history_verdict(report), [
        Section("Worse, recent and lasting", header, [_change_row(c, report) for c in report.regressions]),
        Section(
            "Other changes, the latest first",
            header,
            [_change_row(c, report) for c in report.changes if not c.regression],
        ),
        Section("Warnings", (), [(note,) for note in report.notes]),
        Section("Not comparable with the snapshot before", (), [(line,) for line in report.breaks]),
        Section("Noise", (), [(line,) for line in _noise(report)]),
        Section("Details", (), [(_history_details(report),)]),
    ]


def _history_verdict(report: HistoryReport) -> str:
    worse = report.regressions
    if not report.judged:
        return "NOTHING COMPARED: no figure of any cell has two comparable snapshots"
    if not worse:
        return (
            f"PASSED: no lasting loss beyond {_percent(report.threshold)} began in the last "
            f"{_plural(report.recent, 'snapshot')}; {_plural(len(report.changes), 'change')} in total"
        )
    first = worse[0]
    snapshots = Counter(date(change.night) for change in worse)
    return (
        f"FAILED: {_plural(len(worse), 'regression')}, the largest {first.cell.label} {first.figure} {_change(first)} "
        f"[{_interval(first)}]; by snapshot: " + ", ".join(f"{start} ({n})" for start, n in sorted(snapshots.items()))
    )


def _row(c: Comparison) -> tuple[str, ...]:
    return (
        c.cell.label,
        c.figure,
        _change(c),
        _interval(c),
        _value(c.baseline, c.figure) + _over(c.baseline_repeats, c.baseline_set_aside),
        _value(c.candidate, c.figure) + _over(c.candidate_repeats, c.candidate_set_aside),
    )


def _over(repeats: int, excluded: int) -> str:
    """Marks a level that differs from the mean over all repeats, which the sweep's table and the report show."""
    return f" ({repeats} of {repeats + excluded} repeats)" if excluded else ""


def _doubtful(report: GateReport) -> list[tuple[str, ...]]:
    doubtful = [c for c in report.comparisons if c.verdict == "doubtful"]
    return [(*_row(c), c.reason or "") for c in sorted(doubtful, key=lambda c: -(c.loss or 0))]


def _change_row(c: Change, report: HistoryReport) -> tuple[str, ...]:
    start = date(c.night)
    if c.earliest_index != c.latest_index:
        first, last = (date(report.nights[i])[:10] for i in (c.earliest_index, c.latest_index))
        start += f" ({first} to {last})"
    lasted = f"{c.nights_since}" if c.in_force else f"{c.nights_since} (ended)"
    values = _value(c.before, c.figure), _value(c.after, c.figure)
    return (
        start,
        c.cell.label,
        c.figure,
        _change(c),
        _interval(c),
        *values,
        lasted,
        ", ".join([*([c.doubt] if c.doubt else []), *c.came_with]),
    )


def _change(c: Comparison | Change) -> str:
    assert c.ratio is not None
    return f"{c.ratio - 1:+.1%}"


def _interval(c: Comparison | Change) -> str:
    assert c.ratio_low is not None
    assert c.ratio_high is not None
    return f"{c.ratio_low - 1:+.1%} to {c.ratio_high - 1:+.1%}"


def _interval_title(false_alarms: float) -> str:
    percent = Context(rounding=ROUND_FLOOR).subtract(Decimal(100), 100 * Decimal(repr(false_alarms)))
    return f"{percent.normalize():f} % simultaneous interval"


def _value(value: float | None, figure: str) -> str:
    if value is None:
        return "none"
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{min(digits, 12)}f} {_UNITS.get(figure, '')}".strip()


def _refs(cells: Iterable[CellRef]) -> list[tuple[str, ...]]:
    return [(cell.label, cell.detail or "") for cell in cells]


def _not_comparable(comparisons: Iterable[Comparison]) -> list[tuple[str, ...]]:
    """One row per reason, with its figures and its number of cells."""
    cells: dict[str, set[str]] = {}
    figures: dict[str, dict[str, None]] = {}
    for c in comparisons:
        if c.verdict == "not comparable" and c.reason:
            cells.setdefault(c.reason, set()).add(c.cell.cell_id)
            figures.setdefault(c.reason, {})[c.figure] = None
    order = sorted(cells, key=lambda why: -len(cells[why]))
    return [(str(len(cells[why])), ", ".join(figures[why]), why) for why in order]


def _facts(report: GateReport) -> list[tuple[str, ...]]:
    return [
        (
            f.cell.label,
            f.figure,
            f"{'none' if f.baseline is None else format(f.baseline, '.6g')} -> "
            f"{'none' if f.candidate is None else format(f.candidate, '.6g')}"
            + (f" ({f.ratio - 1:+.2%})" if f.ratio is not None else ""),
            f.reason or "",
        )
        for f in report.facts
    ]


def _details(report: GateReport) -> list[str]:
    verdicts = Counter(c.verdict for c in report.comparisons)
    counts = ", ".join(f"{verdicts[v]} {v}" for v in ("worse", "better", "no difference", "doubtful", "not comparable"))
    noise: dict[str, list[float]] = {}
    for c in report.comparisons:
        if c.noise is not None:
            noise.setdefault(c.figure, []).append(c.noise)
    repeats = ", ".join(f"{name} {_percent(sorted(values)[len(values) // 2])}" for name, values in noise.items())
    lines = [
        f"comparisons: {counts}",
        f"baseline {date(report.baseline)}, {_plural(report.baseline.cells, 'cell')}: {report.baseline.path}",
        f"candidate {date(report.candidate)}, {_plural(report.candidate.cells, 'cell')}: {report.candidate.path}",
    ]
    if repeats:
        lines.append(f"noise of one repeat, median cell: {repeats}")
    if report.between_night_noise:
        added = ", ".join(f"{name} {_percent(sd)}" for name, sd in report.between_night_noise.items())
        lines.append(f"noise that a snapshot adds: {added}")
    if report.across:
        lines.append(f"allowed to differ (--across): {', '.join(report.across)}")
    return lines


def _history_details(report: HistoryReport) -> str:
    snapshots = _plural(len(report.nights), "snapshot")
    period = f"{date(report.nights[0])} to {date(report.nights[-1])} (UTC)"
    return f"{snapshots}, {period}; {report.judged} series, one per cell and figure"


def _noise(report: HistoryReport) -> list[str]:
    added = report.between_night_noise
    return [
        f"{figure}: {_percent(repeat)} per repeat (median cell), and each snapshot adds {_percent(added[figure])}"
        for figure, repeat in report.repeat_noise.items()
    ]


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"


def _plural(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
