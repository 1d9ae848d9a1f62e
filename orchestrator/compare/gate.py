"""Compare two snapshots: a verdict per cell and figure, and which cells are new, gone, failing or working again."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from orchestrator.compare import comparable, noise
from orchestrator.compare.figures import FACTS, FIGURES, Figure
from orchestrator.compare.levels import levels
from orchestrator.compare.noise import Noise, SnapshotNoise
from orchestrator.compare.rules import Rules
from orchestrator.compare.snapshot import CellSnapshot, Snapshot
from orchestrator.compare.verdicts import CellRef, Comparison, Fact, GateReport, Verdict

Pair = tuple[CellSnapshot, CellSnapshot]
"""One cell in the baseline and in the candidate."""


def gate(
    baseline: Snapshot, candidate: Snapshot, rules: Rules, added: Mapping[str, SnapshotNoise] | None = None
) -> GateReport:
    """Compare two snapshots. `added` is the noise that a snapshot adds to each figure, estimated from earlier ones."""
    pairs = [(cell, candidate.cells[cell_id]) for cell_id, cell in baseline.cells.items() if cell_id in candidate.cells]
    comparisons = _comparisons(pairs, rules, added or {})
    gone = _only_in(baseline, candidate, "was {}")
    failing = tuple(_ref(after, after.failure) for before, after in pairs if before.ok and not after.ok)
    passed = not (failing or (gone and not rules.allow_gone) or any(c.regression for c in comparisons))
    return GateReport(
        passed=passed,
        baseline=baseline.info,
        candidate=candidate.info,
        threshold=rules.threshold,
        false_alarms=rules.false_alarms,
        across=tuple(sorted(rules.across)),
        judged=sum(c.verdict != "not comparable" for c in comparisons),
        burst_s=rules.burst_s,
        nothing_certain=_nothing_certain(comparisons),
        between_night_noise={figure: each.variance**0.5 for figure, each in (added or {}).items()},
        comparisons=tuple(comparisons),
        newly_failing=failing,
        gone=gone,
        gone_allowed=rules.allow_gone,
        newly_ok=tuple(_ref(after, before.failure) for before, after in pairs if after.ok and not before.ok),
        new=_only_in(candidate, baseline, "is {}"),
        still_failing=tuple(_ref(after, after.failure) for before, after in pairs if not (before.ok or after.ok)),
        facts=tuple(_facts(pairs, rules.across)),
        stated=comparable.stated(pairs),
        notes=_notes(comparisons, added),
    )


def _comparisons(pairs: list[Pair], rules: Rules, added: Mapping[str, SnapshotNoise]) -> list[Comparison]:
    obstacles = {
        (figure.name, i): comparable.obstacle(figure, *pair, rules.across)
        for figure in FIGURES
        for i, pair in enumerate(pairs)
        if any(comparable.applies(figure, cell) and (cell.ok or figure.name in cell.samples) for cell in pair)
    }
    family = sum(why is None for why in obstacles.values())
    result = []
    for figure in FIGURES:
        comparable_pairs = [pair for i, pair in enumerate(pairs) if obstacles.get((figure.name, i), "") is None]
        result += _judge(figure, comparable_pairs, family, rules, added.get(figure.name))
        result += [
            _not_comparable(figure, pairs[i], why)
            for (name, i), why in obstacles.items()
            if why and name == figure.name
        ]
    return result


def _judge(
    figure: Figure, pairs: list[Pair], family: int, rules: Rules, added: SnapshotNoise | None
) -> list[Comparison]:
    """Compare each pair, with an interval; all intervals of a report hold simultaneously."""
    if not pairs:
        return []
    level = levels(figure, [[cell.samples[figure.name] for cell in pair] for pair in pairs])
    df = (level.n - 1).sum(axis=1)
    own = (level.variance * (level.n - 1)).sum(axis=1) / np.maximum(df, 1)
    pooled = noise.pooled(own, df)
    if not np.isfinite(pooled.variance).all():
        why = "every cell has one repeat per snapshot, so the noise of this figure is unknown; use 2 repeats or more"
        return [_not_comparable(figure, pair, why) for pair in pairs]
    half_width = _half_width(pooled, level.n, added, family, rules.false_alarms)
    snapshots = np.stack([level.mean, level.n, level.excluded, level.span_s], axis=2).tolist()
    spread = np.column_stack([half_width, np.sqrt(pooled.variance), pooled.df]).tolist()
    return [
        _comparison(figure, pair, _Measured(_Level(*before), _Level(*after), *scatter), rules)
        for pair, (before, after), scatter in zip(pairs, snapshots, spread, strict=True)
    ]


def _half_width(
    repeat: Noise, n: noise.Floats, added: SnapshotNoise | None, family: int, false_alarms: float
) -> noise.Floats:
    """Half width of the interval of each log ratio."""
    within = Noise(repeat.variance * (1 / n).sum(axis=1), repeat.df)
    variance, df = within.variance, within.df
    if added is not None:
        between = SnapshotNoise(2 * added.variance, added.df)  # from the baseline and from the candidate
        variance, df = variance + between.variance, noise.combined_df(within, between)
    return np.asarray(np.sqrt(variance) * noise.critical(df, family, false_alarms))


class _Level(NamedTuple):
    """The level of one figure of one cell in one snapshot."""

    mean: float
    """Mean logarithm."""
    n: float
    excluded: float
    span_s: float


class _Measured(NamedTuple):
    """The levels of one figure of one cell, and their uncertainty."""

    before: _Level
    after: _Level
    half_width: float
    """Half width of the interval of log(candidate / baseline)."""
    noise: float
    df: float


def _comparison(figure: Figure, pair: Pair, measured: _Measured, rules: Rules) -> Comparison:
    before, after, half_width = measured.before, measured.after, measured.half_width
    change = after.mean - before.mean
    ratio = float(np.exp(change))
    loss = figure.loss(ratio)
    doubt = _doubt(figure, {"baseline": before, "candidate": after}, rules.burst_s)
    verdict: Verdict = "no difference"
    if abs(change) > half_width:
        verdict = "doubtful" if doubt else "worse" if loss > 0 else "better"
    return Comparison(
        cell=pair[0].ref,
        figure=figure.name,
        verdict=verdict,
        reason=doubt if verdict == "doubtful" else None,
        can_fail=doubt is None,
        baseline=float(np.exp(before.mean)),
        candidate=float(np.exp(after.mean)),
        baseline_repeats=int(before.n),
        candidate_repeats=int(after.n),
        baseline_set_aside=int(before.excluded),
        candidate_set_aside=int(after.excluded),
        ratio=ratio,
        ratio_low=float(np.exp(change - half_width)),
        ratio_high=float(np.exp(min(change + half_width, 700.0))),  # exp overflows above 709
        loss=loss,
        noise=measured.noise,
        df=measured.df,
        regression=verdict == "worse" and loss > rules.threshold,
    )


def _doubt(figure: Figure, snapshots: Mapping[str, _Level], burst_s: float) -> str | None:
    """Why one burst of load may have slowed every repeat of a snapshot; None if it cannot have."""
    if not figure.slowed_by_load:
        return None
    for snapshot, level in snapshots.items():
        if level.span_s < burst_s:
            if level.n == 1:
                return f"a single repeat in the {snapshot}"
            if level.span_s == 0:
                return f"the file of the {snapshot} has no start times of its repeats"
            return f"all repeats in the {snapshot} began within {level.span_s:.0f} s"
    return None


def _nothing_certain(comparisons: list[Comparison]) -> bool:
    """Whether one burst of load may have slowed all repeats of every figure that load slows: the gate cannot fail."""
    slowed = {figure.name for figure in FIGURES if figure.slowed_by_load}
    timed = [c for c in comparisons if c.verdict != "not comparable" and c.figure in slowed]
    return bool(timed) and not any(c.can_fail for c in timed)


def _not_comparable(figure: Figure, pair: Pair, why: str) -> Comparison:
    before, after = (cell.samples.get(figure.name) for cell in pair)
    return Comparison(
        cell=pair[0].ref,
        figure=figure.name,
        verdict="not comparable",
        reason=why,
        baseline=before.mean if before else None,
        candidate=after.mean if after else None,
        baseline_repeats=before.n if before else 0,
        candidate_repeats=after.n if after else 0,
    )


def _facts(pairs: list[Pair], across: Collection[str]) -> list[Fact]:
    changed = []
    for fact in FACTS:
        for before, after in pairs:
            old, new = before.facts[fact.name], after.facts[fact.name]
            if not (before.ok and after.ok) or (old is None and new is None):
                continue
            why = comparable.differences(fact.must_match, before, after, across)
            ratio = new / old if new is not None and old and not why else None
            if ratio is None or abs(ratio - 1) > fact.tolerance:
                changed.append(
                    Fact(cell=before.ref, figure=fact.name, baseline=old, candidate=new, ratio=ratio, reason=why)
                )
    return changed


def _notes(comparisons: list[Comparison], added: Mapping[str, SnapshotNoise] | None) -> tuple[str, ...]:
    """Warn of excluded repeats, and of ratios that scatter more than the repeats explain."""
    notes = _excluded(comparisons)
    for figure in FIGURES if not added else ():
        of_figure = [c for c in comparisons if c.figure == figure.name and c.ratio and c.noise]
        if len(of_figure) < 50:  # fewer scatter this far by chance
            continue
        change = np.log(np.array([c.ratio for c in of_figure], float))
        repeats = np.array([(c.baseline_repeats, c.candidate_repeats) for c in of_figure], float)
        expected = np.array([c.noise for c in of_figure], float) * np.sqrt((1 / repeats).sum(axis=1))
        scatter = float(np.median(np.abs(change - np.median(change)) / expected)) / 0.6745  # median of |normal|
        if scatter > 1.25:
            notes.append(
                f"{figure.name}: cells scatter {scatter:.1f} times as far as their repeats explain. Either each "
                "snapshot adds noise, or many cells changed; to find out which, pass a folder of earlier snapshots "
                "with --nights"
            )
    return tuple(notes)


def _excluded(comparisons: list[Comparison]) -> list[str]:
    """Excluded repeats, by figure: load, or an intermittent fault."""
    notes = []
    for figure in FIGURES:
        of_figure = [c for c in comparisons if c.figure == figure.name]
        counts = sum(c.baseline_set_aside for c in of_figure), sum(c.candidate_set_aside for c in of_figure)
        if any(counts):
            repeats = sum(c.baseline_repeats + c.candidate_repeats for c in of_figure) + sum(counts)
            most = max(of_figure, key=lambda c: (c.candidate_set_aside, c.baseline_set_aside))
            notes.append(
                f"{figure.name}: {sum(counts)} of {repeats} repeats ({counts[0]} in the baseline, {counts[1]} in the "
                "candidate) are far worse than the others of their cells and are excluded: load on the machine, or an "
                f"intermittent fault. The most are in {most.cell.label}: {most.baseline_set_aside} in the baseline, "
                f"{most.candidate_set_aside} in the candidate"
            )
    return notes


def _only_in(one: Snapshot, other: Snapshot, detail: str) -> tuple[CellRef, ...]:
    absent = [cell for cell_id, cell in one.cells.items() if cell_id not in other.cells]
    return tuple(_ref(cell, detail.format("ok" if cell.ok else cell.failure)) for cell in absent)


def _ref(cell: CellSnapshot, detail: str) -> CellRef:
    return cell.ref.model_copy(update={"detail": detail})
