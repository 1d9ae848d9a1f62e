"""Two nights -> a verdict per cell and figure, and what appeared, vanished, failed and works again."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from orchestrator.compare import comparable, noise
from orchestrator.compare.figures import FACTS, FIGURES, Figure
from orchestrator.compare.levels import levels
from orchestrator.compare.night import CellNight, Night
from orchestrator.compare.noise import NightNoise, Noise
from orchestrator.compare.rules import Rules
from orchestrator.compare.verdicts import CellRef, Comparison, Fact, GateReport, Verdict

Pair = tuple[CellNight, CellNight]
"""One cell on the baseline and on the candidate."""


def gate(baseline: Night, candidate: Night, rules: Rules, nights: Mapping[str, NightNoise] | None = None) -> GateReport:
    """Compare two nights. `nights` is what a night adds to each figure's noise, as earlier nights show it."""
    pairs = [(cell, candidate.cells[cell_id]) for cell_id, cell in baseline.cells.items() if cell_id in candidate.cells]
    comparisons = _comparisons(pairs, rules, nights or {})
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
        between_night_noise={figure: added.variance**0.5 for figure, added in (nights or {}).items()},
        comparisons=tuple(comparisons),
        newly_failing=failing,
        gone=gone,
        gone_allowed=rules.allow_gone,
        newly_ok=tuple(_ref(after, before.failure) for before, after in pairs if after.ok and not before.ok),
        new=_only_in(candidate, baseline, "is {}"),
        still_failing=tuple(_ref(after, after.failure) for before, after in pairs if not (before.ok or after.ok)),
        facts=tuple(_facts(pairs, rules.across)),
        stated=comparable.stated(pairs),
        notes=_notes(comparisons, nights),
    )


def _comparisons(pairs: list[Pair], rules: Rules, nights: Mapping[str, NightNoise]) -> list[Comparison]:
    obstacles = {
        (figure.name, i): comparable.obstacle(figure, *pair, rules.across)
        for figure in FIGURES
        for i, pair in enumerate(pairs)
        if any(comparable.judges(figure, cell) and (cell.ok or figure.name in cell.samples) for cell in pair)
    }
    family = sum(why is None for why in obstacles.values())
    found = []
    for figure in FIGURES:
        judged = [pair for i, pair in enumerate(pairs) if obstacles.get((figure.name, i), "") is None]
        found += _judge(figure, judged, family, rules, nights.get(figure.name))
        found += [
            _not_comparable(figure, pairs[i], why)
            for (name, i), why in obstacles.items()
            if why and name == figure.name
        ]
    return found


def _judge(figure: Figure, pairs: list[Pair], family: int, rules: Rules, night: NightNoise | None) -> list[Comparison]:
    """Every comparable cell's ratio with an interval; all intervals of a report hold together."""
    if not pairs:
        return []
    found = levels(figure, [[cell.samples[figure.name] for cell in pair] for pair in pairs])
    df = (found.n - 1).sum(axis=1)
    own = (found.variance * (found.n - 1)).sum(axis=1) / np.maximum(df, 1)
    pooled = noise.pooled(own, df)
    if not np.isfinite(pooled.variance).all():
        why = "one repeat on both nights, and no other cell with more says how noisy this figure is"
        return [_not_comparable(figure, pair, why) for pair in pairs]
    reach = _reach(pooled, found.n, night, family, rules.false_alarms)
    nights = np.stack([found.mean, found.n, found.set_aside, found.span_s], axis=2).tolist()
    spread = np.column_stack([reach, np.sqrt(pooled.variance), pooled.df]).tolist()
    return [
        _comparison(figure, pair, _Measured(_Level(*before), _Level(*after), *scatter), rules)
        for pair, (before, after), scatter in zip(pairs, nights, spread, strict=True)
    ]


def _reach(found: Noise, n: noise.Floats, night: NightNoise | None, family: int, false_alarms: float) -> noise.Floats:
    """Half width of each log ratio's interval."""
    within = Noise(found.variance * (1 / n).sum(axis=1), found.df)
    variance, df = within.variance, within.df
    if night is not None:
        twice = NightNoise(2 * night.variance, night.df)  # the baseline's night and the candidate's
        variance, df = variance + twice.variance, noise.combined_df(within, twice)
    return np.asarray(np.sqrt(variance) * noise.critical(df, family, false_alarms))


class _Level(NamedTuple):
    """What the repeats of one night say."""

    mean: float
    """Mean logarithm."""
    n: float
    set_aside: float
    span_s: float


class _Measured(NamedTuple):
    """What the repeats say of one figure of one cell."""

    before: _Level
    after: _Level
    reach: float
    """Half width of the interval of the logarithm of candidate over baseline."""
    noise: float
    df: float


def _comparison(figure: Figure, pair: Pair, measured: _Measured, rules: Rules) -> Comparison:
    before, after, reach = measured.before, measured.after, measured.reach
    change = after.mean - before.mean
    ratio = float(np.exp(change))
    loss = figure.loss(ratio)
    doubt = _doubt(figure, {"baseline": before, "candidate": after}, rules.burst_s)
    verdict: Verdict = "no difference"
    if abs(change) > reach:
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
        baseline_set_aside=int(before.set_aside),
        candidate_set_aside=int(after.set_aside),
        ratio=ratio,
        ratio_low=float(np.exp(change - reach)),
        ratio_high=float(np.exp(min(change + reach, 700.0))),  # the logarithm of the largest float
        loss=loss,
        noise=measured.noise,
        df=measured.df,
        regression=verdict == "worse" and loss > rules.threshold,
    )


def _doubt(figure: Figure, nights: Mapping[str, _Level], burst_s: float) -> str | None:
    """Why one burst of load may have slowed every repeat of a night; None where it cannot have."""
    if not figure.slowed_by_load:
        return None
    for night, level in nights.items():
        if level.span_s < burst_s:
            if level.n == 1:
                return f"a single repeat on the {night}"
            if level.span_s == 0:
                return f"the {night}'s file does not say when its repeats began"
            return f"the {night}'s repeats all began within {level.span_s:.0f} s"
    return None


def _nothing_certain(comparisons: list[Comparison]) -> bool:
    """Whether all that load may slow rests on repeats that one burst of it may have slowed: such a gate cannot fail."""
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
    found = []
    for fact in FACTS:
        for before, after in pairs:
            old, new = before.facts[fact.name], after.facts[fact.name]
            if not (before.ok and after.ok) or (old is None and new is None):
                continue
            why = comparable.differences(fact.must_match, before, after, across)
            ratio = new / old if new is not None and old and not why else None
            if ratio is None or abs(ratio - 1) > fact.tolerance:
                found.append(
                    Fact(cell=before.ref, figure=fact.name, baseline=old, candidate=new, ratio=ratio, reason=why)
                )
    return found


def _notes(comparisons: list[Comparison], nights: Mapping[str, NightNoise] | None) -> tuple[str, ...]:
    """What was left out, and where the ratios scatter more than the repeats explain: the intervals are too narrow."""
    notes = _left_out(comparisons)
    for figure in FIGURES if not nights else ():
        found = [c for c in comparisons if c.figure == figure.name and c.ratio and c.noise]
        if len(found) < 50:  # fewer scatter this far by chance
            continue
        change = np.log(np.array([c.ratio for c in found], float))
        repeats = np.array([(c.baseline_repeats, c.candidate_repeats) for c in found], float)
        expected = np.array([c.noise for c in found], float) * np.sqrt((1 / repeats).sum(axis=1))
        scatter = float(np.median(np.abs(change - np.median(change)) / expected)) / 0.6745  # a normal's median
        if scatter > 1.25:
            notes.append(
                f"{figure.name}: cells scatter {scatter:.1f} times as far as their repeats explain: nights add "
                "noise of their own, or much has changed; `--nights DIR` with earlier nights tells which"
            )
    return tuple(notes)


def _left_out(comparisons: list[Comparison]) -> list[str]:
    """Repeats that were set aside, by figure: load, or a fault that comes and goes."""
    notes = []
    for figure in FIGURES:
        found = [c for c in comparisons if c.figure == figure.name]
        counts = sum(c.baseline_set_aside for c in found), sum(c.candidate_set_aside for c in found)
        if any(counts):
            repeats = sum(c.baseline_repeats + c.candidate_repeats for c in found) + sum(counts)
            most = max(found, key=lambda c: (c.candidate_set_aside, c.baseline_set_aside))
            notes.append(
                f"{figure.name}: {sum(counts)} of {repeats} repeats ({counts[0]} on the baseline, {counts[1]} on the "
                "candidate) are far worse than the others of their cells and are set aside: load on the machine, or a "
                f"fault that comes and goes; the most in {most.cell.label}: {most.baseline_set_aside} on the baseline, "
                f"{most.candidate_set_aside} on the candidate"
            )
    return notes


def _only_in(one: Night, other: Night, detail: str) -> tuple[CellRef, ...]:
    absent = [cell for cell_id, cell in one.cells.items() if cell_id not in other.cells]
    return tuple(_ref(cell, detail.format("ok" if cell.ok else cell.failure)) for cell in absent)


def _ref(cell: CellNight, detail: str) -> CellRef:
    return cell.ref.model_copy(update={"detail": detail})
