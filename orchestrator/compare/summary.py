"""Report -> sentences and rows, the same for text and Markdown: the verdict leads, then what to doubt, then counts."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from orchestrator.compare.figures import FIGURES
from orchestrator.compare.verdicts import CellRef, Change, Comparison, GateReport, HistoryReport, NightInfo
from workers.records.text import printable

_UNITS = {figure.name: figure.unit for figure in FIGURES}


@dataclass(frozen=True)
class Section:
    """A table, or a list where `header` is empty and each row is one sentence."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def sections(report: GateReport | HistoryReport) -> tuple[str, list[Section]]:
    """The verdict in one line, and the sections below it that have something to say."""
    verdict, found = _gate(report) if isinstance(report, GateReport) else _history(report)
    return printable(verdict), [_printable(section) for section in found if section.rows]


def _printable(section: Section) -> Section:
    """Names and errors come from elsewhere, and must not steer the terminal."""
    return replace(section, rows=[tuple(map(printable, row)) for row in section.rows])


def date(night: NightInfo) -> str:
    """The night, by the day and minute (UTC) that it began."""
    return datetime.fromtimestamp(night.started_unix_s, UTC).strftime("%Y-%m-%d %H:%M")


def _gate(report: GateReport) -> tuple[str, list[Section]]:
    worse = report.regressions
    minor = [c for c in report.comparisons if c.verdict == "worse" and not c.regression]
    better = [c for c in report.comparisons if c.verdict == "better"]
    header = ("cell", "figure", "change", _interval_title(report.false_alarms), "baseline", "candidate")
    return _gate_verdict(report), [
        Section(f"Worse, by more than {_percent(report.threshold)}", header, [_row(c) for c in worse]),
        Section("Doubtful: one burst of load may have made it", (*header, "why"), _doubtful(report)),
        Section("Stopped working", ("cell", "how"), _refs(report.newly_failing)),
        Section("Gone" + (" (allowed)" if report.gone_allowed else ""), ("cell", "baseline"), _refs(report.gone)),
        Section("Not comparable", ("cells", "figures", "why"), _not_comparable(report.comparisons)),
        Section("Doubts", (), [(note,) for note in report.notes]),
        Section(f"Worse, by {_percent(report.threshold)} at most", header, [_row(c) for c in minor]),
        Section("Better", header, [_row(c) for c in sorted(better, key=lambda c: c.loss or 0)]),
        Section("FLOPs and perplexity that changed", ("cell", "figure", "change", "why not"), _facts(report)),
        Section("Works again", ("cell", "was"), _refs(report.newly_ok)),
        Section("Works on neither night", ("cell", "how"), _refs(report.still_failing)),
        Section("New", ("cell", "candidate"), _refs(report.new)),
        Section("What else differs", (), [(line,) for line in report.stated]),
        Section("Counts", (), [(line,) for line in _counts(report)]),
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
            "cell; spread them (more repeats, longer windows), or say with --burst what to reckon with here"
        )
    unjudged = len(report.comparisons) - report.judged
    doubtful = sum(c.verdict == "doubtful" for c in report.comparisons)
    unable = sum(not c.can_fail for c in report.comparisons) - unjudged
    counts = {"doubtful": doubtful, "rest on repeats side by side": unable, "not comparable": unjudged}
    said = "".join(f"; {count} {what}" for what, count in counts.items() if count)
    return f"PASSED: no loss beyond {_percent(report.threshold)} in {_plural(report.judged, 'comparison')}{said}"


def _history(report: HistoryReport) -> tuple[str, list[Section]]:
    header = (
        "night",
        "cell",
        "figure",
        "change",
        _interval_title(report.false_alarms),
        "before",
        "after",
        "nights",
        "came with",
    )
    return _history_verdict(report), [
        Section("Worse, recent and lasting", header, [_change_row(c, report) for c in report.regressions]),
        Section(
            "Every other change, the latest first",
            header,
            [_change_row(c, report) for c in report.changes if not c.regression],
        ),
        Section("Doubts", (), [(note,) for note in report.notes]),
        Section("Series begin anew (not comparable across)", (), [(line,) for line in report.breaks]),
        Section("Noise", (), [(line,) for line in _noise(report)]),
        Section("Looked at", (), [(_looked_at(report),)]),
    ]


def _history_verdict(report: HistoryReport) -> str:
    worse = report.regressions
    if not report.judged:
        return "NOTHING COMPARED: no figure of any cell has two comparable nights"
    if not worse:
        return (
            f"PASSED: no loss beyond {_percent(report.threshold)} began in the last {_plural(report.recent, 'night')} "
            f"and lasts; {_plural(len(report.changes), 'change')} in all"
        )
    first = worse[0]
    nights = Counter(date(change.night) for change in worse)
    return (
        f"FAILED: {_plural(len(worse), 'regression')}, the largest {first.cell.label} {first.figure} {_change(first)} "
        f"[{_interval(first)}]; by night: " + ", ".join(f"{night} ({n})" for night, n in sorted(nights.items()))
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


def _over(repeats: int, set_aside: int) -> str:
    """What tells a level from the mean over all repeats, which the table and the page show."""
    return f" ({repeats} of {repeats + set_aside} repeats)" if set_aside else ""


def _doubtful(report: GateReport) -> list[tuple[str, ...]]:
    found = [c for c in report.comparisons if c.verdict == "doubtful"]
    return [(*_row(c), c.reason or "") for c in sorted(found, key=lambda c: -(c.loss or 0))]


def _change_row(c: Change, report: HistoryReport) -> tuple[str, ...]:
    night = date(c.night)
    if c.earliest_index != c.latest_index:
        first, last = (date(report.nights[i])[:10] for i in (c.earliest_index, c.latest_index))
        night += f" ({first} to {last})"
    lasted = f"{c.nights_since}" if c.in_force else f"{c.nights_since}, over"
    values = _value(c.before, c.figure), _value(c.after, c.figure)
    return (
        night,
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
    return f"{1 - false_alarms:.4g}".replace("0.", "", 1) + " % interval, all together"


def _value(value: float | None, figure: str) -> str:
    if value is None:
        return "none"
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{min(digits, 12)}f} {_UNITS.get(figure, '')}".strip()


def _refs(cells: Iterable[CellRef]) -> list[tuple[str, ...]]:
    return [(cell.label, cell.detail or "") for cell in cells]


def _not_comparable(comparisons: Iterable[Comparison]) -> list[tuple[str, ...]]:
    """One row a reason: which figures it concerns, and how many cells."""
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


def _counts(report: GateReport) -> list[str]:
    verdicts = Counter(c.verdict for c in report.comparisons)
    said = ", ".join(f"{verdicts[v]} {v}" for v in ("worse", "better", "no difference", "doubtful", "not comparable"))
    noise: dict[str, list[float]] = {}
    for c in report.comparisons:
        if c.noise is not None:
            noise.setdefault(c.figure, []).append(c.noise)
    repeats = ", ".join(f"{name} {_percent(sorted(found)[len(found) // 2])}" for name, found in noise.items())
    lines = [
        f"figures of cells: {said}",
        f"baseline {date(report.baseline)}, {_plural(report.baseline.cells, 'cell')}: {report.baseline.path}",
        f"candidate {date(report.candidate)}, {_plural(report.candidate.cells, 'cell')}: {report.candidate.path}",
    ]
    if repeats:
        lines.append(f"noise of one repeat, median cell: {repeats}")
    if report.between_night_noise:
        nights = ", ".join(f"{name} {_percent(sd)}" for name, sd in report.between_night_noise.items())
        lines.append(f"noise that a night adds: {nights}")
    if report.across:
        lines.append(f"compared across: {', '.join(report.across)}")
    return lines


def _looked_at(report: HistoryReport) -> str:
    nights = f"{_plural(len(report.nights), 'night')}, {date(report.nights[0])} to {date(report.nights[-1])} (UTC)"
    return f"{nights}; {report.judged} series of a cell and a figure"


def _noise(report: HistoryReport) -> list[str]:
    nights = report.between_night_noise
    return [
        f"{figure}: one repeat {_percent(repeat)} (median cell), a night adds {_percent(nights[figure])}"
        for figure, repeat in report.repeat_noise.items()
    ]


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"


def _plural(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
