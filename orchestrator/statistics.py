"""Statistics over repeats: their geometric mean, and Student's confidence interval of the logarithms."""

import math
import statistics
import sys
from collections.abc import Iterable

from orchestrator.results import Spread

_SMALLEST, _LARGEST = math.ulp(0.0), sys.float_info.max


def mean(values: Iterable[float | None]) -> float | None:
    """Geometric mean of the repeats that have the figure, arithmetic where one is zero; null without any.

    Rates, times and energies are positive, and their noise is a share of them. A geometric mean treats a rate and its
    inverse alike: figures that are products of others in each repeat are so in their means too.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    if min(known) == max(known):  # to the last digit
        return known[0]
    return _exp(statistics.fmean(map(math.log, known))) if min(known) > 0 else statistics.fmean(known)


def spread(values: Iterable[float | None]) -> Spread:
    """Mean, standard deviations and 95 % confidence interval over the repeats that have the figure.

    The interval is exp(+- t(0.975, n - 1) x std / sqrt(n)) times the mean, with the standard deviation of the
    logarithms: it lies around the mean, and its lower end is never negative. Student's t, as repeats are few and the
    normal quantile would promise too much. A zero has no logarithm: with one among the repeats, there is no interval.
    """
    every = tuple(values)
    known = [value for value in every if value is not None]
    centre = mean(known)
    if centre is None or len(known) < 2:
        return Spread(mean=centre, n=len(known), values=every)
    std = statistics.stdev(known)
    if min(known) <= 0:
        return Spread(mean=centre, std=std, n=len(known), values=every)
    from scipy.special import stdtrit  # only where there are repeats: importing it takes longer than all else here

    log_std = statistics.stdev(map(math.log, known))
    factor = _exp(float(stdtrit(len(known) - 1, 0.975)) * log_std / math.sqrt(len(known)))
    return Spread(
        mean=centre,
        std=std,
        log_std=log_std,
        ci95_low=max(centre / factor, _SMALLEST),
        ci95_high=min(centre * factor, _LARGEST),
        n=len(known),
        values=every,
    )


def _exp(logarithm: float) -> float:
    """exp, held within what a float can say: a wild interval ends at the largest one, never at infinity or zero."""
    return math.exp(min(max(logarithm, math.log(_SMALLEST)), math.log(_LARGEST)))
