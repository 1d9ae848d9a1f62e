from collections.abc import Callable

import pytest

from workers.records import Warmup
from workers.warmup import variation, warm_up


def replay(durations: list[float]) -> Callable[[], float]:
    """A generation that takes the given times, one after the other."""
    return iter(durations).__next__


def test_a_fixed_count_is_made_exactly_and_never_called_settled() -> None:
    done = warm_up(replay([9.0, 1.0, 1.0, 1.0]), Warmup(floor=3))
    assert done.generations == 3
    assert done.duration_s == 11.0
    assert done.converged is None


def test_a_count_of_none_makes_none() -> None:
    done = warm_up(replay([]), Warmup(floor=0))
    assert (done.generations, done.duration_s, done.cv) == (0, 0, None)


def test_it_goes_on_until_the_last_times_settle() -> None:
    done = warm_up(replay([9.0, 5.0, 2.0, 1.01, 1.0, 1.0, 1.0]), Warmup(cv=0.01, floor=3, cap=20))
    assert done.generations == 6  # the last three are 1.01, 1.0, 1.0
    assert done.converged is True
    assert done.cv == pytest.approx(0.00575, rel=0.01)


def test_it_stops_at_the_cap_and_says_that_nothing_settled() -> None:
    done = warm_up(replay([1.0, 2.0] * 10), Warmup(cv=0.01, floor=2, cap=7))
    assert done.generations == 7
    assert done.converged is False


def test_one_time_alone_never_counts_as_settled() -> None:
    done = warm_up(replay([1.0, 1.0]), Warmup(cv=0.01, floor=1, cap=20))
    assert done.generations == 2


def test_ranks_stop_when_the_first_one_says_so() -> None:
    verdicts = iter([False, False, True])
    done = warm_up(replay([1.0] * 9), Warmup(cv=0.5, floor=2, cap=9), agree=lambda _: next(verdicts))
    assert done.generations == 4


def test_variation_needs_two_times() -> None:
    assert variation([1.0], 5) is None
    assert variation([1.0, 3.0], 2) == pytest.approx(2**0.5 / 2)
