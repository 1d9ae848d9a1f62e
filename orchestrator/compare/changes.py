"""Find where the levels of many noisy series change: exact optimal partitioning, of all series at once."""

from dataclasses import dataclass

import numpy as np

from orchestrator.compare.noise import Floats


@dataclass(frozen=True)
class Step:
    """A change of level in one series."""

    series: int
    start: int
    """First position of the new level."""
    earliest: int
    """First possible position of the change, with 95 % confidence."""
    latest: int
    """Last possible position of the change, with 95 % confidence."""
    end: int
    """One past the last position of the new level."""
    before: float
    """Weighted mean of the segment before."""
    after: float
    """Weighted mean of the new segment."""
    variance: float
    """Variance of `after - before`, if the weights are 1 / variance."""


def steps(values: Floats, weights: Floats, penalty: Floats) -> list[Step]:
    """Find the changes of level that reduce the residuals by more than the penalty.

    `values` and `weights` have the shape (series, positions); a weight is 1 / variance, and 0 where there is no value.
    Minimises, over all ways to cut a series into segments of one level each, the weighted squared residuals plus
    `penalty` (series,) for each cut (Jackson et al. 2005; O(positions^2)).

    In a series of one level, a cut at a given position reduces the residuals by the square of a standard normal. The
    penalty is t^2, where the probability that any position of any series exceeds t is at most a. So the probability of
    a false cut is at most a: two cuts would have to save 2 t^2 together, which is far less likely.
    """
    origin = np.divide((values * weights).sum(1), weights.sum(1), out=np.zeros(len(values)), where=weights.sum(1) > 0)
    centred = np.where(weights > 0, values - origin[:, None], 0.0)  # avoids cancellation in the sums of squares
    sums = _Sums(centred, weights)
    last = _last_cuts(sums, penalty)
    result = []
    for row in np.flatnonzero(last[:, -1] > 0):
        cuts = _trace(last[row])
        for left, start, end in zip(cuts, cuts[1:], cuts[2:], strict=False):
            result.append(_step(sums, int(row), (left, start, end), float(origin[row])))
    return result


class _Sums:
    """Running sums, which give the cost and mean of any segment in constant time; each (series, positions + 1)."""

    def __init__(self, values: Floats, weights: Floats) -> None:
        def running(terms: Floats) -> Floats:
            return np.concatenate([np.zeros((len(terms), 1)), np.cumsum(terms, axis=1)], axis=1)

        self.w, self.wx, self.wxx = running(weights), running(weights * values), running(weights * values**2)

    def cost(self, start: int | slice, end: int | slice, rows: int | slice = slice(None)) -> Floats:
        """Weighted squared residuals of the segment [start, end) around its own mean."""
        w = self.w[rows, end] - self.w[rows, start]
        wx = self.wx[rows, end] - self.wx[rows, start]
        explained = np.divide(wx**2, w, out=np.zeros_like(wx), where=w > 0)
        return np.asarray(self.wxx[rows, end] - self.wxx[rows, start] - explained)


def _last_cuts(sums: _Sums, penalty: Floats) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """For each prefix of each series, where its last segment starts in the best partition."""
    series, ends = sums.w.shape
    best = np.zeros((series, ends))  # the first segment pays a penalty too, which does not move the minimum
    last = np.zeros((series, ends), np.intp)
    for end in range(1, ends):
        cost = best[:, :end] + sums.cost(slice(0, end), slice(end, end + 1)) + penalty[:, None]
        last[:, end] = cost.argmin(axis=1)
        best[:, end] = cost.min(axis=1)
    return last


def _trace(last: np.ndarray[tuple[int], np.dtype[np.intp]]) -> list[int]:
    cuts = [len(last) - 1]
    while cuts[-1] > 0:
        cuts.append(int(last[cuts[-1]]))
    return cuts[::-1]


def _step(sums: _Sums, row: int, cuts: tuple[int, int, int], origin: float) -> Step:
    left, start, end = cuts
    places = np.array([p for p in range(left + 1, end) if sums.w[row, left] < sums.w[row, p] < sums.w[row, end]])
    cost = np.array([float(sums.cost(left, int(p), row) + sums.cost(int(p), end, row)) for p in places])
    # All cuts between two values cost the same; report the one at the next value.
    places = np.array([_next_value(sums.w[row], int(p)) for p in places])
    near = places[cost <= cost.min() + 3.84]  # 95 % quantile of chi-square with one degree of freedom
    w = np.diff(sums.w[row, list(cuts)])
    mean = np.diff(sums.wx[row, list(cuts)]) / w
    return Step(
        series=row,
        start=_next_value(sums.w[row], start),
        earliest=int(near.min()),
        latest=int(near.max()),
        end=end,
        before=float(mean[0]) + origin,
        after=float(mean[1]) + origin,
        variance=float((1 / w).sum()),
    )


def _next_value(w: Floats, position: int) -> int:
    """The first position at or after `position` that has a weight."""
    return int(np.searchsorted(w, w[position], side="right")) - 1
