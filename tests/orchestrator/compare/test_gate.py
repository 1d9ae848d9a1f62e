"""The gate on snapshots that are written out: intervals, doubts, lists of cells and facts, worked out by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from orchestrator.compare import comparable, gate
from orchestrator.compare.figures import FIGURES
from orchestrator.compare.noise import SnapshotNoise
from orchestrator.compare.rules import Rules
from orchestrator.compare.snapshot import CellSnapshot, Sample, Snapshot
from orchestrator.compare.verdicts import CellRef, Comparison, GateReport, SnapshotInfo

E2E = next(figure for figure in FIGURES if figure.name == "e2e_s")
APART = (0.0, 30.0, 60.0)
FACETS = {facet: "same" for figure in FIGURES for facet in figure.must_match}


def sample(*logs: float, starts: tuple[float, ...] = APART) -> Sample:
    return Sample(math.exp(logs[0]), 0.0, len(logs), tuple(map(math.exp, logs)), starts[: len(logs)])


BEFORE, AFTER = sample(0.0, 0.01, 0.02), sample(0.1, 0.11, 0.12)
"""10 % apart, with a standard deviation of 1 %."""


def cell(name: str = "a", **changed: Any) -> CellSnapshot:
    plain = CellSnapshot(
        ref=CellRef(cell_id=name, label=name), ok=True, failure="", samples={}, missing={},
        facts={"flops_value": None, "perplexity": None}, facets=FACETS | {"flops-method": "m", "flops-confidence": "c"},
        stated={}, mixed=(),
    )  # fmt: skip
    return replace(plain, **changed)


def failed(name: str) -> CellSnapshot:
    return cell(name, ok=False, failure="oom: no room")


def snapshot(*cells: CellSnapshot) -> Snapshot:
    info = SnapshotInfo(path="p", sweep="s", started_unix_s=0.0, git_commit=None, cells=len(cells))
    return Snapshot(info=info, cells={one.ref.cell_id: one for one in cells})


def compared(before: Sample, after: Sample, nights: Any = None, **rules: Any) -> tuple[GateReport, Comparison]:
    baseline, candidate = (snapshot(cell(samples={"e2e_s": one})) for one in (before, after))
    report = gate.gate(baseline, candidate, Rules(**{"threshold": 0.05, **rules}), nights)
    (comparison,) = report.comparisons
    return report, comparison


VARIANCE = 1e-4 / (stats.chi2.median(4) / 4)
"""Of one repeat: the cell is taken for the median of all cells like it, with 4 degrees of freedom."""


def test_a_ratio_has_students_interval_of_the_pooled_noise() -> None:
    report, got = compared(BEFORE, AFTER)
    half_width = math.sqrt(VARIANCE * (1 / 3 + 1 / 3)) * stats.t.ppf(1 - 0.01 / 2, 4)
    assert got.ratio == pytest.approx(math.exp(0.1))
    assert got.loss == pytest.approx(math.exp(0.1) - 1)
    assert got.ratio_low == pytest.approx(math.exp(0.1 - half_width), rel=1e-4)
    assert got.ratio_high == pytest.approx(math.exp(0.1 + half_width), rel=1e-4)
    assert (got.noise, got.df) == (pytest.approx(math.sqrt(VARIANCE), rel=1e-4), 4)
    assert (got.baseline, got.candidate) == (pytest.approx(math.exp(0.01)), pytest.approx(math.exp(0.11)))
    assert (got.baseline_repeats, got.candidate_repeats) == (3, 3)
    assert (got.baseline_set_aside, got.candidate_set_aside) == (0, 0)
    assert (got.verdict, got.can_fail, got.regression, report.passed, report.judged) == ("worse", True, True, False, 1)


def test_what_snapshots_add_counts_for_both_with_its_own_degrees_of_freedom() -> None:
    added = SnapshotNoise(2e-4, 3.0)
    report, got = compared(BEFORE, AFTER, {"e2e_s": added})
    within, between = VARIANCE * 2 / 3, 4e-4
    df = (within + between) ** 2 / (within**2 / 4 + between**2 / 3)
    half_width = math.sqrt(within + between) * stats.t.ppf(1 - 0.01 / 2, df)
    assert got.ratio_high == pytest.approx(math.exp(0.1 + half_width), rel=1e-3)
    assert report.between_night_noise == {"e2e_s": pytest.approx(math.sqrt(2e-4))}


@pytest.mark.parametrize(("threshold", "fails"), [(0.105, True), (0.106, False)])
def test_a_loss_fails_beyond_the_threshold_only(threshold: float, fails: bool) -> None:
    report, got = compared(BEFORE, AFTER, threshold=threshold)  # a loss of 10.52 %
    assert (got.verdict, got.regression, report.passed) == ("worse", fails, not fails)


def test_a_gain_and_a_difference_within_the_interval_pass() -> None:
    assert compared(AFTER, BEFORE)[1].verdict == "better"
    report, near = compared(BEFORE, sample(0.03, 0.04, 0.05))  # 3 %, and the interval reaches 4.1 %
    assert (near.verdict, near.regression, report.passed) == ("no difference", False, True)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (sample(0.1, 0.11, 0.12, starts=(0.0, 30.0, 59.0)), "in the candidate began within 59 s"),
        (sample(0.1, 0.11, 0.12, starts=()), "no start times"),
        (sample(0.2), "a single repeat in the candidate"),
    ],
)
def test_a_loss_that_one_burst_may_explain_is_doubtful(after: Sample, words: str) -> None:
    report, got = compared(BEFORE, after)
    assert (got.verdict, got.can_fail, got.regression) == ("doubtful", False, False)
    assert words in (got.reason or "")
    assert report.nothing_certain


def test_a_burst_as_long_as_the_repeats_are_apart_explains_nothing() -> None:
    report, got = compared(BEFORE, AFTER, burst_s=60.0)
    assert (got.verdict, got.reason, report.nothing_certain) == ("worse", None, False)
    assert compared(BEFORE, AFTER, burst_s=60.1)[1].verdict == "doubtful"


def test_single_repeats_everywhere_have_no_noise_and_are_not_comparable() -> None:
    report, got = compared(sample(0.0), sample(0.1))
    assert (got.verdict, got.baseline_repeats, report.judged) == ("not comparable", 1, 0)
    assert not report.nothing_certain


def test_cells_are_listed_by_what_became_of_them() -> None:
    baseline = snapshot(cell("works"), cell("breaks"), failed("heals"), failed("still"), cell("gone"))
    candidate = snapshot(cell("works"), failed("breaks"), cell("heals"), failed("still"), failed("new"))
    report = gate.gate(baseline, candidate, Rules(threshold=0.05))
    lists = (report.newly_failing, report.newly_ok, report.still_failing, report.gone, report.new)
    assert [[ref.cell_id for ref in refs] for refs in lists] == [["breaks"], ["heals"], ["still"], ["gone"], ["new"]]
    assert [ref.detail for ref in (*report.newly_failing, *report.gone, *report.new)] == [
        "oom: no room", "was ok", "is oom: no room",
    ]  # fmt: skip
    assert not report.passed


@pytest.mark.parametrize(("allowed", "passed"), [(False, False), (True, True)])
def test_a_cell_that_is_gone_fails_unless_it_may(allowed: bool, passed: bool) -> None:
    report = gate.gate(snapshot(cell("a"), cell("b")), snapshot(cell("a")), Rules(threshold=0.05, allow_gone=allowed))
    assert report.passed is passed


def facts(before: dict[str, Any], after: dict[str, Any], **changed: Any) -> list[tuple[str, float | None]]:
    empty = {"flops_value": None, "perplexity": None}
    report = gate.gate(
        snapshot(cell(facts=empty | before)), snapshot(cell(facts=empty | after, **changed)), Rules(threshold=0.05)
    )
    assert report.passed or changed
    return [(fact.figure, fact.ratio) for fact in report.facts]


def test_a_fact_that_changed_is_told_with_its_ratio() -> None:
    assert facts({"flops_value": 4.0}, {"flops_value": 5.0}) == [("flops_value", 1.25)]
    assert facts({"flops_value": 5.0}, {"flops_value": 4.0}) == [("flops_value", 0.8)]
    assert facts({"flops_value": 4.0}, {"flops_value": 4.0}) == []
    assert facts({"perplexity": 10.0}, {"perplexity": 10.009}) == []
    assert facts({"perplexity": 10.0}, {"perplexity": 10.011}) == [("perplexity", pytest.approx(1.0011))]


def test_a_fact_without_a_partner_or_under_other_conditions_has_no_ratio() -> None:
    assert facts({"flops_value": 4.0}, {}) == facts({}, {"flops_value": 4.0}) == [("flops_value", None)]
    assert facts({"flops_value": 0.0}, {"flops_value": 4.0}) == [("flops_value", None)]
    other = FACETS | {"flops-method": "other", "flops-confidence": "c"}
    assert facts({"flops_value": 4.0}, {"flops_value": 4.0}, facets=other) == [("flops_value", None)]
    assert facts({"flops_value": 4.0}, {"flops_value": 5.0}, ok=False) == []


def comparison(change: float, **changed: Any) -> Comparison:
    fields = {
        "cell": CellRef(cell_id="a", label="cell a"), "figure": "e2e_s", "verdict": "no difference", "noise": 0.1,
        "ratio": math.exp(change), "baseline_repeats": 2, "candidate_repeats": 2,
    }  # fmt: skip
    return Comparison(**{**fields, **changed})


@pytest.mark.parametrize(("change", "pairs", "notes"), [(0.1, 25, 1), (0.1, 24, 0), (0.083, 25, 0), (0.086, 25, 1)])
def test_ratios_that_scatter_by_a_quarter_more_than_their_repeats_explain_are_noted(
    change: float, pairs: int, notes: int
) -> None:
    # two and two repeats with 10 % noise: a ratio scatters by 10 %, and half of all lie within 6.745 %
    scattered = [comparison(sign * change) for sign in (-1, 1)] * pairs
    assert len(gate._notes(scattered, None)) == notes
    assert not gate._notes(scattered, {"e2e_s": SnapshotNoise(0.1, 5.0)})
    if change == 0.1 and notes:
        assert "cells scatter 1.5 times as far" in gate._notes(scattered, None)[0]


def test_excluded_repeats_are_counted_and_the_cell_with_the_most_is_named() -> None:
    second = comparison(0.0, baseline_set_aside=3, candidate_set_aside=2, cell=CellRef(cell_id="b", label="cell b"))
    (note,) = gate._notes([comparison(0.0, baseline_set_aside=1), second, comparison(0.0, candidate_set_aside=1)], None)
    assert "7 of 19 repeats (4 in the baseline, 3 in the candidate)" in note
    assert "cell b: 3 in the baseline, 2 in the candidate" in note


def test_a_figure_is_comparable_where_all_that_must_match_does() -> None:
    measured = cell(samples={"e2e_s": BEFORE})
    driver = replace(measured, facets=measured.facets | {"driver": "570"})
    assert comparable.obstacle(E2E, measured, measured, ()) is None
    assert comparable.obstacle(E2E, measured, driver, ()) == "driver: same -> 570"
    assert comparable.obstacle(E2E, measured, driver, {"driver"}) is None
    mixed = replace(measured, mixed=("driver_version", "wall_clocks"))
    assert comparable.obstacle(E2E, measured, mixed, ()) == (
        "mixed: the cell's runs in the candidate differ (driver_version)"
    )
    assert comparable.obstacle(E2E, mixed, measured, {"mixed"}) is None
    assert comparable.obstacle(E2E, mixed, measured, {"driver"}) is None
    other = replace(measured, mixed=("torch_version",))  # what is no facet affects every figure
    assert "torch_version" in (comparable.obstacle(E2E, other, measured, ()) or "")


def test_a_series_breaks_where_what_must_match_changes() -> None:
    measured = cell(samples={"e2e_s": BEFORE})
    driver = replace(measured, facets=measured.facets | {"driver": "570"})
    assert comparable.key(E2E, measured, ()) != comparable.key(E2E, driver, ())
    assert comparable.key(E2E, measured, {"driver"}) == comparable.key(E2E, driver, {"driver"})
    assert comparable.key(E2E, measured, ()) == ("same",) * len(E2E.must_match)


def test_a_figure_that_is_missing_says_on_which_side_and_why() -> None:
    measured, missing = cell(samples={"e2e_s": BEFORE}), cell(missing={"e2e_s": "null"})
    assert comparable.obstacle(E2E, measured, missing, ()) == "no value in the candidate (null)"
    assert comparable.obstacle(E2E, missing, measured, ()) == "no value in the baseline (null)"
    assert comparable.obstacle(E2E, missing, missing, ()) == "no value in either snapshot (null)"
    assert [comparable.applies(E2E, one) for one in (measured, missing, cell())] == [True, True, False]


def test_what_differs_and_forbids_nothing_is_counted_by_cells() -> None:
    pairs = [(cell(stated={"torch": "1", "host": None}), cell(stated={"torch": "2", "host": "b"}))]
    pairs += [(cell(stated={"torch": "1"}), cell(stated={"torch": "2"}))]
    assert comparable.stated(pairs) == ("torch 1 -> 2 (2 cells)", "host unknown -> b (1 cell)")


def test_an_interval_that_reaches_beyond_all_floats_ends_at_a_finite_ratio() -> None:
    wild = sample(0.0, 300.0, 600.0)
    assert compared(wild, wild)[1].ratio_high == pytest.approx(math.exp(700.0))
