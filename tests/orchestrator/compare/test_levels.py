"""Which repeats are included in a figure's level, and which are excluded because a burst of load slowed them."""

import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.compare.figures import FIGURES
from orchestrator.compare.levels import Levels, levels
from orchestrator.compare.snapshot import Sample

SPEED, TTFT, *_, MEMORY = FIGURES
STARTS = (0.0, 100.0, 200.0, 300.0, 400.0)


def sample(*factors: float, starts: tuple[float, ...] = STARTS) -> Sample:
    return Sample(float(np.mean(factors)), 0.0, len(factors), factors, starts[: len(factors)])


def snapshots(rng: np.random.Generator, *cells: tuple[float, ...]) -> list[list[Sample]]:
    """Cells of two snapshots: the second as given, and many without a burst; 1 % noise."""
    shapes = [*cells, *[(1.0,) * 5] * 20]
    return [
        [sample(*np.exp(0.01 * rng.normal(size=5))), sample(*(np.array(shape) * np.exp(0.01 * rng.normal(size=5))))]
        for shape in shapes
    ]


def second(result: Levels, cell: int = 0) -> tuple[float, int]:
    """Level in the second snapshot (about 1) and its number of included repeats."""
    return float(np.exp(result.mean[cell, 1])), int(result.n[cell, 1])


@pytest.mark.parametrize("hit", [(1.5, 1, 1, 1, 1), (1, 1, 1.3, 2.9, 1), (1, 1, 1, 1.2, 1.2)])
def test_a_minority_of_slowed_repeats_is_excluded(rng: np.random.Generator, hit: tuple[float, ...]) -> None:
    mean, n = second(levels(TTFT, snapshots(rng, hit)))
    assert mean == pytest.approx(1.0, abs=0.02)
    assert n == hit.count(1)


def test_for_a_figure_where_higher_is_better_the_low_repeats_are_excluded(rng: np.random.Generator) -> None:
    result = levels(SPEED, snapshots(rng, (1, 1, 0.6, 1, 1), (1, 1, 1.6, 1, 1)))
    assert [second(result, cell)[1] for cell in (0, 1)] == [4, 5]


@pytest.mark.parametrize("hit", [(1.5, 1.5, 1.5, 1, 1), (1.5, 1.4, 1.6, 1.5, 1)])
def test_if_most_repeats_were_slowed_all_are_included_and_scatter(
    rng: np.random.Generator, hit: tuple[float, ...]
) -> None:
    result = levels(TTFT, snapshots(rng, hit))
    assert second(result)[1] == 5
    assert result.variance[0, 1] > 0.1**2


def test_a_faster_repeat_is_never_excluded(rng: np.random.Generator) -> None:
    assert second(levels(TTFT, snapshots(rng, (0.5, 1, 1, 1, 1))))[1] == 5


def test_all_repeats_without_a_burst_are_included(rng: np.random.Generator) -> None:
    result = levels(TTFT, snapshots(rng))
    assert (result.n == 5).all()
    assert (result.span_s == 400).all()


def test_load_does_not_exclude_repeats_of_memory(rng: np.random.Generator) -> None:
    assert second(levels(MEMORY, snapshots(rng, (1.5, 1, 1, 1, 1))))[1] == 5


def test_the_span_is_that_of_the_included_repeats(rng: np.random.Generator) -> None:
    result = levels(TTFT, snapshots(rng, (1, 1, 1, 1.5, 1.5)))
    assert result.span_s[0, 1] == 200


def test_a_snapshot_of_an_older_version_has_a_mean_and_no_starts(rng: np.random.Generator) -> None:
    cells = snapshots(rng)
    cells[0][1] = Sample(1.1, 0.02**2, 5)
    result = levels(TTFT, cells)
    assert second(result) == (pytest.approx(1.1), 5)
    assert (result.variance[0, 1], result.span_s[0, 1]) == (pytest.approx(0.02**2), 0)


def test_a_snapshot_without_the_figure_has_no_level(rng: np.random.Generator) -> None:
    cells = [[None, *row] for row in snapshots(rng)]
    result = levels(TTFT, cells)
    assert (result.n[:, 0] == 0).all()
    assert np.isnan(result.mean[:, 0]).all()


def hand(*logs: float, starts: tuple[float, ...] = STARTS) -> Sample:
    return sample(*map(math.exp, logs), starts=starts)


QUIET = hand(0.0, 0.01, 0.02, 0.02, 0.02)
LIMIT = 7 * math.sqrt(1e-4 / 0.42230 / (stats.chi2.median(4) / 4))
"""Seven standard deviations of a repeat. The three better of five repeats vary by 1e-4, as the better three fifths of a
normal with 1e-4 / 0.4223; and a cell alone is taken for the median of its like. It is 11.76 %."""


@pytest.mark.parametrize(
    ("worse", "kept"),
    [
        ((0.01 + LIMIT - 1e-4, 0.01 + LIMIT), 5),
        ((0.01 + LIMIT + 1e-4, 0.01 + LIMIT + 2e-4), 3),
        ((0.01 + LIMIT - 1e-4, (0.03 + 0.01 + LIMIT) / 4 + LIMIT + 1e-3), 4),  # beyond the mean of the four before it
        ((0.01 + LIMIT - 1e-4, (0.03 + 0.01 + LIMIT) / 4 + LIMIT - 1e-3), 5),
    ],
)
def test_repeats_count_in_order_until_one_is_seven_deviations_worse_than_those_before_it(worse, kept) -> None:
    logs = (0.0, 0.01, 0.02, *worse)
    found = levels(TTFT, [[QUIET, hand(*logs)]])
    assert (found.n[0, 1], found.excluded[0, 1]) == (kept, 5 - kept)
    assert found.mean[0, 1] == pytest.approx(np.mean(logs[:kept]))
    assert found.variance[0, 1] == pytest.approx(np.var(logs[:kept], ddof=1))
    assert found.span_s[0, 1] == STARTS[kept - 1]


@pytest.mark.parametrize(("repeats", "safe"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4)])
def test_at_least_half_of_the_repeats_always_count(repeats: int, safe: int) -> None:
    quiet = [[sample(1.0, 1.01, 0.99), sample(1.0, 1.01, 0.99)]] * 20
    logs = [0.001 * i for i in range(safe)] + [5.0] * (repeats - safe)
    found = levels(TTFT, [*quiet, [hand(*logs, starts=()), QUIET]])
    assert found.n[20, 0] == safe
    assert (found.n[:20] == 3).all()  # whatever the number of its repeats, it disturbs no other cell
    assert found.mean[20, 0] == pytest.approx(0.001 * (safe - 1) / 2)


def test_where_more_is_better_the_lower_repeats_are_excluded() -> None:
    high = [hand(*(-one for one in (0.0, 0.01, 0.02, 0.02, worst))) for worst in (0.02, 0.5)]
    found = levels(SPEED, [high])
    assert found.n[0].tolist() == [5, 4]
    assert found.mean[0, 1] == pytest.approx(-0.0125)


def test_where_half_of_four_repeats_were_slowed_all_count() -> None:
    found = levels(TTFT, [[hand(0.0, 0.001, 0.5, 0.5), QUIET]])  # the better three are included, and they scatter
    assert found.n[0].tolist() == [4, 5]


def test_single_repeats_are_their_own_level_without_variance() -> None:
    found = levels(TTFT, [[hand(0.1), hand(0.2)]])
    assert found.mean[0] == pytest.approx([0.1, 0.2])
    assert (found.n[0].tolist(), found.variance[0].tolist(), found.span_s[0].tolist()) == ([1, 1], [0, 0], [0, 0])
