"""The noise of a figure: the variance of its repeats, pooled over cells, and the variance that snapshots add.

All variances are relative: variances of a figure's logarithm, about (standard deviation / mean)^2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

RESOLUTION = 1e-3
"""Smallest relative standard deviation of a repeat, 0.1 %. An allocator's peak repeats exactly; with a variance of 0,
a difference of one byte would be a finding."""

_OUTLIER = 0.01
"""A cell uses only its own variance if the probability of one as large, given the other cells, is below this."""
_EQUALLY_NOISY = 1e6
"""Prior degrees of freedom that stand for infinity: all cells are equally noisy."""
_MEDIAN_OF_SQUARE = 0.454936423
"""Median of the square of a standard normal."""


@dataclass(frozen=True)
class Noise:
    """The variance of each cell's repeats, or of their mean, with its degrees of freedom; shape (cells,)."""

    variance: Floats
    df: Floats


def pooled(variance: Floats, df: Floats) -> Noise:
    """Estimate each cell's variance from its own repeats and those of all other cells; shape (cells,).

    Empirical Bayes after Smyth (2004, limma): the cells' true variances scatter around `centre` like a scaled inverse
    chi-square with `prior` degrees of freedom, so that a cell's best estimate is the weighted mean of its own variance
    (weight `df`) and the centre (weight `prior`). Equally noisy cells have an infinite `prior`: full pooling. Both are
    fitted robustly (cf. Phipson et al. 2016), so that a few noisy cells do not affect them; those cells use their own
    variance.

    `variance` is each cell's variance over its repeats, with `df` degrees of freedom (0 with a single repeat, whose
    variance is ignored). No estimate has more degrees of freedom than all cells together; without any, the variances
    are infinite.
    """
    known = df > 0
    if not known.any():
        return Noise(np.full_like(variance, np.inf), np.zeros_like(df))
    own = np.where(known, np.maximum(variance, RESOLUTION**2), 0.0)
    prior = _prior_df(own[known], df[known])
    centre = _centre(own[known], df[known], prior)
    total = (prior * centre + df * own) / (prior + df)
    total_df = np.minimum(prior + df, df.sum())
    outlier = known & (_tail(own, np.maximum(df, 1), prior, centre) < _OUTLIER)
    return Noise(np.where(outlier, own, total), np.where(outlier, df, total_df))


def _centre(own: Floats, df: Floats, prior: float) -> float:
    """The centre at which half of the cells lie above their expected median."""
    counts, where = np.unique(df, return_inverse=True)  # the inverse is slow, and `df` has few distinct values
    return float(np.median(own / special.fdtri(counts, prior, 0.5)[where]))


def _tail(own: Floats, df: Floats, prior: float, centre: float) -> Floats:
    """Probability of a variance at least this large: own / centre is F distributed with (df, prior)."""
    return np.asarray(special.fdtrc(df, prior, own / centre))


def _prior_df(own: Floats, df: Floats) -> float:
    """Prior degrees of freedom at which the cells' tail probabilities are uniform.

    Uniform ones differ from 1/2 by 1/4 on average. The fit is robust: a single cell moves that mean by at most 1/4 of
    its share, however noisy it is.
    """

    def excess(prior: float) -> float:
        return float(np.abs(_tail(own, df, prior, _centre(own, df, prior)) - 0.5).mean()) - 0.25

    if excess(_EQUALLY_NOISY) <= 0:
        return _EQUALLY_NOISY
    low, high = 0.0, np.log(_EQUALLY_NOISY)  # bisection of the logarithm, to 0.3 %
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(np.exp(middle)) < 0 else (low, middle)
    return float(np.exp(low))


@dataclass(frozen=True)
class SnapshotNoise:
    """What a snapshot adds to the variance of each cell's mean, whatever the number of repeats."""

    variance: float
    df: float


def between_snapshots(differences: Floats, variance: Floats) -> SnapshotNoise:
    """The variance that snapshots add, from the differences between the means of consecutive snapshots.

    `differences` are of logarithms, over all cells and pairs of consecutive snapshots; `variance` is the variance of
    each that the repeats alone explain; both have the shape (pairs,). The result is the added variance at which the
    median of the squared, standardised differences equals that of a squared standard normal. A median ignores real
    changes, which are in the minority. It has 0.37 of the efficiency of a mean, and consecutive differences overlap
    (2/3), so a quarter of the pairs counts as degrees of freedom. Half of that is used, because the median of few
    values deviates further than Student's t allows for.
    """
    df = max(1.0, differences.size / 8)

    def median(added: float) -> float:
        return float(np.median(differences**2 / (variance + 2 * added)))

    if differences.size == 0 or median(0.0) <= _MEDIAN_OF_SQUARE:
        return SnapshotNoise(0.0, df)
    low, high = 0.0, float(np.max(differences**2)) / _MEDIAN_OF_SQUARE
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if median(middle) > _MEDIAN_OF_SQUARE else (low, middle)
    return SnapshotNoise(high, df)


def combined_df(within: Noise, between: SnapshotNoise) -> Floats:
    """Degrees of freedom of the sum of both variances (Welch and Satterthwaite); shape (cells,)."""
    total = within.variance + between.variance
    return np.asarray(total**2 / (within.variance**2 / within.df + between.variance**2 / between.df))


def critical(df: Floats, comparisons: float, false_alarms: float) -> Floats:
    """The two-sided Student's t that any of `comparisons` exceeds with a probability of at most `false_alarms`.

    Bonferroni: it holds whatever the dependence between the comparisons, and serves both the test and the interval.
    """
    return np.asarray(-special.stdtrit(np.maximum(df, 1e-9), false_alarms / (2 * comparisons)))
