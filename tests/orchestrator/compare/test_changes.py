from itertools import combinations

import numpy as np
import pytest

from orchestrator.compare.changes import Step, steps


def changes(values: np.ndarray, weights: np.ndarray | None = None, penalty: float = 25.0) -> list[Step]:
    values = np.atleast_2d(values)
    weights = np.ones_like(values) if weights is None else np.atleast_2d(weights)
    return steps(values, weights, np.full(len(values), penalty))


def test_a_clean_step_is_one_change_at_its_position() -> None:
    (step,) = changes(np.array([0.0] * 6 + [10.0] * 4))

    assert (step.start, step.earliest, step.latest, step.end) == (6, 6, 6, 10)
    assert (step.before, step.after) == pytest.approx((0, 10))
    assert step.variance == pytest.approx(1 / 6 + 1 / 4)


def test_a_bump_is_two_changes() -> None:
    first, second = changes(np.array([0.0] * 5 + [10.0] * 3 + [0.0] * 5))

    assert (first.start, first.end, second.start, second.end) == (5, 8, 8, 13)


def test_a_change_is_at_the_next_position_with_a_value() -> None:
    values, weights = np.array([0.0] * 5 + [99.0] * 2 + [10.0] * 5), np.array([1.0] * 5 + [0.0] * 2 + [1.0] * 5)
    (step,) = changes(values, weights)

    assert step.start == step.earliest == step.latest == 7
    assert (step.before, step.after) == pytest.approx((0, 10))


def test_the_partition_is_the_cheapest_of_all(rng: np.random.Generator) -> None:
    for _ in range(30):
        values, weights = rng.normal(size=8) * 2, rng.uniform(0.5, 2, size=8)
        cuts = tuple(step.start for step in changes(values, weights, 3.0))

        assert cuts == _cheapest(values, weights, 3.0)


def _cheapest(values: np.ndarray, weights: np.ndarray, penalty: float) -> tuple[int, ...]:
    def cost(cuts: tuple[int, ...]) -> float:
        parts = zip(np.split(values, cuts), np.split(weights, cuts), strict=True)
        return penalty * len(cuts) + sum((w * (v - np.average(v, weights=w)) ** 2).sum() for v, w in parts)

    return min((cuts for k in range(8) for cuts in combinations(range(1, 8), k)), key=cost)


def test_a_large_common_level_does_not_reduce_the_accuracy() -> None:
    (step,) = changes(1e6 + np.array([0.0] * 5 + [1e-3] * 5), np.full(10, 1e9))

    assert step.after - step.before == pytest.approx(1e-3, rel=1e-6)


def test_an_uncertain_position_is_a_range() -> None:
    (step,) = changes(np.array([0.0] * 6 + [3.0] + [6.0] * 6))

    assert (step.earliest, step.latest) == (6, 7)


def test_each_series_is_cut_separately() -> None:
    values = np.zeros((3, 10))
    values[2, 4:] = 10

    assert [(step.series, step.start) for step in changes(values)] == [(2, 4)]


@pytest.mark.parametrize(("height", "count"), [(4.9, 0), (5.1, 1)])
def test_a_change_must_save_more_than_its_penalty(height: float, count: int) -> None:
    # two values on each side: a cut saves the square of the height
    assert len(changes(np.array([0.0, 0.0, height, height]), penalty=25.0)) == count


@pytest.mark.parametrize(("middle", "latest"), [(3.42, 4), (3.44, 3)])
def test_a_position_is_possible_while_it_costs_at_most_3_84_more(middle: float, latest: int) -> None:
    # to cut after the middle value instead of before it costs 9 (middle - 3) more: 3.78 and 3.96
    (step,) = changes(np.array([0.0, 0.0, 0.0, middle, 6.0, 6.0, 6.0]))
    assert (step.start, step.earliest, step.latest) == (3, 3, latest)


def test_levels_and_their_variance_are_weighted() -> None:
    (step,) = changes(np.array([0.0, 3.0, 20.0, 24.0]), np.array([2.0, 1.0, 1.0, 3.0]))
    assert (step.before, step.after) == (pytest.approx(1.0), pytest.approx(23.0))
    assert step.variance == pytest.approx(1 / 3 + 1 / 4)
