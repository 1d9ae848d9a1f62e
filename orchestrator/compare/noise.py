"""How noisy a figure is: the variance of its repeats, pooled over cells, and what nights add to it.

Everything here is relative: the variance of a figure's logarithm, taken as (standard deviation / mean)^2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

RESOLUTION = 1e-3
"""No repeat is believed to better than 0.1 %: an allocator's peak repeats exactly, and a variance of 0 would make every
byte a finding."""

_LONELY = 0.01
"""A cell whose own variance has less than this probability among the others' is judged by its own variance alone."""
_ALIKE = 1e6
"""Prior degrees of freedom that are as good as infinite: the cells are equally noisy."""
_MEDIAN_OF_SQUARE = 0.454936423
"""Median of the square of a standard normal."""


@dataclass(frozen=True)
class Noise:
    """The variance of each cell's repeats, or of their mean, with its degrees of freedom; shape (cells,)."""

    variance: Floats
    df: Floats


def pooled(variance: Floats, df: Floats) -> Noise:
    """Each cell's variance, as its own repeats and all other cells' together say it; shape (cells,).

    Empirical Bayes after Smyth (2004, limma): the cells' true variances scatter around `centre` like a scaled inverse
    chi-square with `prior` degrees of freedom, so that a cell's best estimate is the weighted mean of its own variance
    (weight `df`) and the centre (weight `prior`). Cells that are equally noisy have `prior` infinite: full pooling.
    Both are fitted robustly (cf. Phipson et al. 2016), so that a few noisy cells move neither; those cells are then
    judged by their own repeats.

    `variance` is each cell's over its repeats, with `df` degrees of freedom (0 with a single repeat, the variance is
    then ignored). No estimate has more degrees of freedom than there are in all cells together; with none at all the
    variances are infinite.
    """
    known = df > 0
    if not known.any():
        return Noise(np.full_like(variance, np.inf), np.zeros_like(df))
    own = np.where(known, np.maximum(variance, RESOLUTION**2), 0.0)
    prior = _prior_df(own[known], df[known])
    centre = _centre(own[known], df[known], prior)
    total = (prior * centre + df * own) / (prior + df)
    total_df = np.minimum(prior + df, df.sum())
    lonely = known & (_tail(own, np.maximum(df, 1), prior, centre) < _LONELY)
    return Noise(np.where(lonely, own, total), np.where(lonely, df, total_df))


def _centre(own: Floats, df: Floats, prior: float) -> float:
    """The centre that puts half of the cells above their expected median."""
    counts, where = np.unique(df, return_inverse=True)  # cells have few numbers of repeats, and an inverse is slow
    return float(np.median(own / special.fdtri(counts, prior, 0.5)[where]))


def _tail(own: Floats, df: Floats, prior: float, centre: float) -> Floats:
    """Probability of a variance at least this large: own / centre is F distributed with (df, prior)."""
    return np.asarray(special.fdtrc(df, prior, own / centre))


def _prior_df(own: Floats, df: Floats) -> float:
    """Prior degrees of freedom at which the cells' tail probabilities scatter as evenly as they should.

    Even ones lie 1/4 from 1/2 on average. A single cell moves that mean by at most 1/4 of its share, however noisy it
    is: this is what makes the fit robust.
    """

    def excess(prior: float) -> float:
        return float(np.abs(_tail(own, df, prior, _centre(own, df, prior)) - 0.5).mean()) - 0.25

    if excess(_ALIKE) <= 0:
        return _ALIKE
    low, high = 0.0, np.log(_ALIKE)  # bisection in the logarithm, from 1 upward, to 0.3 %
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(np.exp(middle)) < 0 else (low, middle)
    return float(np.exp(low))


@dataclass(frozen=True)
class NightNoise:
    """What a night adds to the variance of every cell's mean, however many repeats it has."""

    variance: float
    df: float


def between_nights(differences: Floats, variance: Floats) -> NightNoise:
    """The variance that nights add, from the differences between one night's means and the next's.

    `differences` are of logarithms, over all cells and pairs of nights in a row, `variance` is what the repeats alone
    would give each; both of shape (pairs,). Solved for the addition at which the median of the squared, standardised
    differences is that of a normal's square: real changes are in the minority, and a median does not see them. A
    median is worth 0.37 of a mean, and differences in a row overlap (2/3): a quarter of the pairs counts. Half of that
    is claimed, as a median of few strays further than Student's t allows for.
    """
    df = max(1.0, differences.size / 8)

    def median(added: float) -> float:
        return float(np.median(differences**2 / (variance + 2 * added)))

    if differences.size == 0 or median(0.0) <= _MEDIAN_OF_SQUARE:
        return NightNoise(0.0, df)
    low, high = 0.0, float(np.max(differences**2)) / _MEDIAN_OF_SQUARE
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if median(middle) > _MEDIAN_OF_SQUARE else (low, middle)
    return NightNoise(high, df)


def combined_df(within: Noise, night: NightNoise) -> Floats:
    """Degrees of freedom of the sum of both variances (Welch and Satterthwaite); shape (cells,)."""
    total = within.variance + night.variance
    return np.asarray(total**2 / (within.variance**2 / within.df + night.variance**2 / night.df))


def critical(df: Floats, comparisons: float, false_alarms: float) -> Floats:
    """Student's t that the largest of `comparisons` exceeds, either way, with probability `false_alarms` at most.

    Bonferroni: holds however the comparisons depend on one another, and one number serves test and interval.
    """
    return np.asarray(-special.stdtrit(np.maximum(df, 1e-9), false_alarms / (2 * comparisons)))
