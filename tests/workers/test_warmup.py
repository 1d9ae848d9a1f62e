from collections.abc import Callable

import pytest

from workers.records import Warmup
from workers.warmup import variation, warm_up


def replay(durations: list[float]) -> Callable[[], float]:
    """A generation that takes the given times, one after the other."""
    return iter(durations).__next__


def test_a_fixed_number_of_generations_is_exact_and_never_called_converged() -> None:
    done = warm_up(replay([9.0, 1.0, 1.0, 1.0]), Warmup(floor=3))
    assert done.generations == 3
    assert done.duration_s == 11.0
    assert done.converged is None


def test_zero_generations_make_no_call() -> None:
    done = warm_up(replay([]), Warmup(floor=0))
    assert (done.generations, done.duration_s, done.cv) == (0, 0, None)


def test_it_continues_until_the_last_times_settle() -> None:
    done = warm_up(replay([9.0, 5.0, 2.0, 1.01, 1.0, 1.0, 1.0]), Warmup(cv=0.01, floor=3, cap=20))
    assert done.generations == 6  # the last three are 1.01, 1.0, 1.0
    assert done.converged is True
    assert done.cv == pytest.approx(0.00575, rel=0.01)


def test_it_stops_at_the_cap_and_reports_no_convergence() -> None:
    done = warm_up(replay([1.0, 2.0] * 10), Warmup(cv=0.01, floor=2, cap=7))
    assert done.generations == 7
    assert done.converged is False


def test_a_single_time_never_counts_as_settled() -> None:
    done = warm_up(replay([1.0, 1.0]), Warmup(cv=0.01, floor=1, cap=20))
    assert done.generations == 2


def test_ranks_stop_when_rank_0_decides() -> None:
    decisions = iter([False, False, True])
    done = warm_up(replay([1.0] * 9), Warmup(cv=0.5, floor=2, cap=9), agree=lambda _: next(decisions))
    assert done.generations == 4


def test_variation_needs_two_times() -> None:
    assert variation([1.0], 5) is None
    assert variation([1.0, 3.0], 2) == pytest.approx(2**0.5 / 2)


def test_times_that_vary_by_the_bound_itself_have_not_settled() -> None:
    bound = variation([1.0, 3.0], 2)
    assert warm_up(replay([1.0, 3.0, 3.0]), Warmup(cv=bound, floor=2, cap=3)).generations == 3
    assert warm_up(replay([1.0, 3.0, 3.0]), Warmup(cv=bound * 1.001, floor=2, cap=3)).generations == 2


def test_variation_is_of_the_last_times_and_null_where_they_are_nothing() -> None:
    assert variation([9.0, 1.0, 3.0], 2) == variation([1.0, 3.0], 2)
    assert variation([1.0, 3.0], 0) is None
    assert variation([0.0, 0.0], 2) is None


def test_a_floor_above_the_cap_is_made_all_the_same() -> None:
    done = warm_up(replay([1.0, 2.0, 4.0, 8.0]), Warmup.model_construct(cv=0.001, floor=3, cap=2))
    assert (done.generations, done.duration_s, done.converged) == (3, 7.0, False)
