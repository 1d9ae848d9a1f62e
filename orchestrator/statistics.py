"""Statistics over repeats: geometric mean and Student's confidence interval of the logarithms."""

import math
import statistics
import sys
from collections.abc import Iterable

from orchestrator.results import Spread

_LOWEST, _HIGHEST = math.log(sys.float_info.min), math.log(sys.float_info.max)


def spread(values: Iterable[float | None]) -> Spread:
    """Geometric mean, standard deviations and 95 % confidence interval over the repeats that have the figure.

    Rates, times and energies are positive, and their noise is a share of them: so mean and interval are taken of the
    logarithms. The interval is exp(mean +- t(0.975, n - 1) x std / sqrt(n)) of these: it lies around the mean, and its
    lower end is never negative. Student's t, as repeats are few and the normal quantile would promise too much. A zero
    has no logarithm: with one among the repeats, the mean is the arithmetic one and has no interval.
    """
    every = tuple(values)
    known = [value for value in every if value is not None]
    if len(known) < 2:
        return Spread(mean=known[0] if known else None, n=len(known), values=every)
    std = statistics.stdev(known)
    if min(known) <= 0:
        return Spread(mean=statistics.fmean(known), std=std, n=len(known), values=every)
    from scipy.special import stdtrit  # only where there are repeats: importing it takes longer than all else here

    logs = [math.log(value) for value in known]
    mean, log_std = statistics.fmean(logs), statistics.stdev(logs)
    half = float(stdtrit(len(known) - 1, 0.975)) * log_std / math.sqrt(len(known))
    return Spread(
        mean=_exp(mean),
        std=std,
        log_std=log_std,
        ci95_low=_exp(mean - half),
        ci95_high=_exp(mean + half),
        n=len(known),
        values=every,
    )


def _exp(logarithm: float) -> float:
    """exp, held within what a float can say: a wild interval ends at the largest one, never at infinity or zero."""
    return math.exp(min(max(logarithm, _LOWEST), _HIGHEST))
