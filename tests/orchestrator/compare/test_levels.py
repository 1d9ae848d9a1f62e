"""Which repeats make a figure's level, and which a burst of load has slowed."""

import numpy as np
import pytest

from orchestrator.compare.figures import FIGURES
from orchestrator.compare.levels import Levels, levels
from orchestrator.compare.night import Sample

SPEED, TTFT, *_, MEMORY = FIGURES
STARTS = (0.0, 100.0, 200.0, 300.0, 400.0)


def sample(*factors: float, starts: tuple[float, ...] = STARTS) -> Sample:
    return Sample(float(np.mean(factors)), 0.0, len(factors), factors, starts[: len(factors)])


def nights(rng: np.random.Generator, *cells: tuple[float, ...]) -> list[list[Sample]]:
    """Cells of two nights, the second as given, beside many quiet ones; 1 % noise."""
    shapes = [*cells, *[(1.0,) * 5] * 20]
    return [
        [sample(*np.exp(0.01 * rng.normal(size=5))), sample(*(np.array(shape) * np.exp(0.01 * rng.normal(size=5))))]
        for shape in shapes
    ]


def second_night(found: Levels, cell: int = 0) -> tuple[float, int]:
    """Level (about 1) and number of its repeats that count."""
    return float(np.exp(found.mean[cell, 1])), int(found.n[cell, 1])


@pytest.mark.parametrize("hit", [(1.5, 1, 1, 1, 1), (1, 1, 1.3, 2.9, 1), (1, 1, 1, 1.2, 1.2)])
def test_the_fewer_repeats_that_were_slowed_are_set_aside(rng: np.random.Generator, hit: tuple[float, ...]) -> None:
    mean, n = second_night(levels(TTFT, nights(rng, hit)))
    assert mean == pytest.approx(1.0, abs=0.02)
    assert n == hit.count(1)


def test_slow_is_less_where_more_is_better(rng: np.random.Generator) -> None:
    found = levels(SPEED, nights(rng, (1, 1, 0.6, 1, 1), (1, 1, 1.6, 1, 1)))
    assert [second_night(found, cell)[1] for cell in (0, 1)] == [4, 5]


@pytest.mark.parametrize("hit", [(1.5, 1.5, 1.5, 1, 1), (1.5, 1.4, 1.6, 1.5, 1)])
def test_where_most_repeats_were_slowed_all_count_and_scatter(rng: np.random.Generator, hit: tuple[float, ...]) -> None:
    found = levels(TTFT, nights(rng, hit))
    assert second_night(found)[1] == 5
    assert found.variance[0, 1] > 0.1**2


def test_a_quicker_repeat_is_never_set_aside(rng: np.random.Generator) -> None:
    assert second_night(levels(TTFT, nights(rng, (0.5, 1, 1, 1, 1))))[1] == 5


def test_quiet_repeats_all_count(rng: np.random.Generator) -> None:
    found = levels(TTFT, nights(rng))
    assert (found.n == 5).all()
    assert (found.span_s == 400).all()


def test_memory_is_no_matter_of_load(rng: np.random.Generator) -> None:
    assert second_night(levels(MEMORY, nights(rng, (1.5, 1, 1, 1, 1))))[1] == 5


def test_the_span_is_of_the_repeats_that_count(rng: np.random.Generator) -> None:
    found = levels(TTFT, nights(rng, (1, 1, 1, 1.5, 1.5)))
    assert found.span_s[0, 1] == 200


def test_a_night_of_an_older_file_has_its_summary_and_no_starts(rng: np.random.Generator) -> None:
    cells = nights(rng)
    cells[0][1] = Sample(1.1, 0.02**2, 5)
    found = levels(TTFT, cells)
    assert second_night(found) == (pytest.approx(1.1), 5)
    assert (found.variance[0, 1], found.span_s[0, 1]) == (pytest.approx(0.02**2), 0)


def test_a_night_without_the_figure_has_no_level(rng: np.random.Generator) -> None:
    cells = [[None, *row] for row in nights(rng)]
    found = levels(TTFT, cells)
    assert (found.n[:, 0] == 0).all()
    assert np.isnan(found.mean[:, 0]).all()
