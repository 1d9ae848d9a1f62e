"""Statistics over repeats: geometric mean, and Student's confidence interval of the logarithms."""

import math
import statistics
import sys
from collections.abc import Iterable

from orchestrator.results.rows import Spread

_SMALLEST, _LARGEST = math.ulp(0.0), sys.float_info.max


def mean(values: Iterable[float | None]) -> float | None:
    """Geometric mean of the repeats that have the figure, arithmetic if one is zero; null without any.

    Rates, times and energies are positive, and their noise is relative. A geometric mean treats a rate and its inverse
    alike: a figure that is a product of others in each repeat is also the product of their means.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    if min(known) == max(known):  # exactly, without rounding
        return known[0]
    return _exp(statistics.fmean(map(math.log, known))) if min(known) > 0 else statistics.fmean(known)


def spread(values: Iterable[float | None]) -> Spread:
    """Mean, standard deviations and 95 % confidence interval over the repeats that have the figure.

    The interval is the mean times exp(+- t(0.975, n - 1) x std / sqrt(n)), with the standard deviation of the
    logarithms: it contains the mean, and its lower end is never negative. It uses Student's t, because the normal
    quantile would be too narrow for few repeats. If a repeat is zero, which has no logarithm, there is no interval.
    """
    repeats = tuple(values)
    known = [value for value in repeats if value is not None]
    centre = mean(known)
    if centre is None or len(known) < 2:
        return Spread(mean=centre, n=len(known), values=repeats)
    std = statistics.stdev(known)
    if min(known) <= 0:
        return Spread(mean=centre, std=std, n=len(known), values=repeats)
    from scipy.special import stdtrit  # imported only for repeats, as it takes long

    log_std = statistics.stdev(map(math.log, known))
    factor = _exp(float(stdtrit(len(known) - 1, 0.975)) * log_std / math.sqrt(len(known)))
    return Spread(
        mean=centre,
        std=std,
        log_std=log_std,
        ci95_low=max(centre / factor, _SMALLEST),
        ci95_high=min(centre * factor, _LARGEST),
        n=len(known),
        values=repeats,
    )


def _exp(logarithm: float) -> float:
    """exp, limited to the range of positive floats: never infinite or zero."""
    return math.exp(min(max(logarithm, math.log(_SMALLEST)), math.log(_LARGEST)))
