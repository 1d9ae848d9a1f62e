"""Compute the level of a cell's figure in a snapshot from its repeats, without those that a burst of load slowed.

A burst slows what runs while it lasts, and makes nothing faster. If the repeats of a cell are spread over the sweep, it
slows a minority of them: those are far worse than the others, and are excluded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from orchestrator.compare import noise
from orchestrator.compare.figures import Figure
from orchestrator.compare.noise import Floats
from orchestrator.compare.snapshot import Sample

_FAR = 7.0
"""A repeat this many standard deviations worse than the better ones is excluded. At 2 % noise, a burst costs more than
ten; with a lower bound, a cell that is noisier than the others would lose repeats by chance."""


@dataclass(frozen=True)
class Levels:
    """The levels of one figure; every array has the shape (cells, snapshots)."""

    mean: Floats
    """Mean logarithm of the included repeats; NaN without repeats."""
    variance: Floats
    """Variance of the logarithm of one included repeat; 0 with a single repeat."""
    n: Floats
    """Included repeats."""
    excluded: Floats
    """Excluded repeats."""
    span_s: Floats
    """Time from the first to the last start of the included repeats; 0 if unknown. Unit: s."""


def levels(figure: Figure, samples: Sequence[Sequence[Sample | None]]) -> Levels:
    """The levels of a figure; `samples` has a row per cell and a column per snapshot.

    The better half of the repeats is always included. The others follow in order, until one is `_FAR` standard
    deviations worse than those before it. The standard deviation is that of the cell's better repeats in all snapshots,
    or that of all cells if it is larger. A snapshot with most repeats slowed keeps them all, and their large scatter.
    """
    better_first = 1.0 if figure.better == "lower" else -1.0
    values, starts = _repeats(samples)
    order = np.argsort(better_first * values, axis=2)  # NaN last
    values = np.take_along_axis(values, order, axis=2)
    starts = np.take_along_axis(starts, order, axis=2)
    n = np.isfinite(values).sum(axis=2).astype(float)
    safe = n - np.floor((n - 1).clip(0) / 2) if figure.slowed_by_load else n
    running = _Running(better_first * values)
    limit = _FAR * _scale(running.at(safe)[1], safe, n)
    included = np.isfinite(values)
    for i in range(1, values.shape[2]):
        near = better_first * values[:, :, i] - running.mean[:, :, i - 1] <= limit[:, None]
        included[:, :, i] &= included[:, :, i - 1] & ((i < safe) | near)
    kept = included.sum(axis=2).astype(float)
    mean, variance = running.at(kept)
    times = np.where(included, starts, np.nan)
    span = np.nan_to_num(np.fmax.reduce(times, axis=2) - np.fmin.reduce(times, axis=2))
    return _with_summaries(samples, Levels(better_first * mean, variance, kept, n - kept, span))


class _Running:
    """Mean and variance of the first one, two, three... repeats; arrays of the shape (cells, snapshots, repeats)."""

    def __init__(self, values: Floats) -> None:
        first = values[:, :, :1]
        centred = np.nan_to_num(values - first)  # avoids cancellation in the sums of squares
        count = np.arange(1.0, values.shape[2] + 1)
        mean, squares = centred.cumsum(axis=2) / count, (centred**2).cumsum(axis=2)
        self.mean = mean + first
        self.variance = (squares - count * mean**2).clip(0) / np.maximum(count - 1, 1)

    def at(self, n: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of the first `n` (cells, snapshots); NaN and 0 where `n` is 0."""
        last = np.maximum(n - 1, 0).astype(int)[:, :, None]
        mean, variance = (np.take_along_axis(array, last, axis=2)[:, :, 0] for array in (self.mean, self.variance))
        return mean, variance


def _scale(variance: Floats, safe: Floats, n: Floats) -> Floats:
    """Standard deviation of a repeat of each cell, from the variance of the `safe` better ones of `n`; (cells,)."""
    df = np.maximum(safe - 1, 0)
    own = (df * variance / _truncated_variance(safe / np.maximum(n, 1))).sum(axis=1) / np.maximum(df.sum(axis=1), 1)
    return np.asarray(np.sqrt(np.maximum(own, noise.pooled(own, df.sum(axis=1)).variance)))


def _truncated_variance(better: Floats) -> Floats:
    """Variance of the lowest share `better` of normal values, relative to the variance of all of them."""
    cut = special.ndtri(np.clip(better, 1e-9, 1 - 1e-9))
    density = np.exp(-(cut**2) / 2) / np.sqrt(2 * np.pi) / np.maximum(better, 1e-9)
    return np.asarray(1 - cut * density - density**2)


def _repeats(samples: Sequence[Sequence[Sample | None]]) -> tuple[Floats, Floats]:
    """Logarithms and starts of all repeats, (cells, snapshots, repeats), NaN where there is none."""
    most = max((len(sample.values) for row in samples for sample in row if sample), default=0)
    shape = (len(samples), len(samples[0]) if samples else 0, max(most, 1))
    values, starts = np.full(shape, np.nan), np.full(shape, np.nan)
    for i, row in enumerate(samples):
        for j, sample in enumerate(row):
            if sample is not None:
                values[i, j, : len(sample.values)] = sample.values
                starts[i, j, : len(sample.starts)] = sample.starts
    return np.log(values), starts


def _with_summaries(samples: Sequence[Sequence[Sample | None]], result: Levels) -> Levels:
    """Fill in the snapshots of older versions, whose files have only the mean and standard deviation of the repeats."""
    for i, row in enumerate(samples):
        for j, sample in enumerate(row):
            if sample is not None and not sample.values:
                result.mean[i, j] = np.log(sample.mean)
                result.variance[i, j], result.n[i, j] = sample.variance, sample.n
    return result
