"""Statistics over repeats: mean, standard deviation and Student's confidence interval."""

import math
import statistics
from collections.abc import Iterable

from orchestrator.results import Spread


def spread(values: Iterable[float | None]) -> Spread:
    """Mean, sample standard deviation and 95 % confidence interval over the repeats that have the figure.

    The interval is mean +- t(0.975, n - 1) x std / sqrt(n): repeats are few, and the normal quantile would promise too
    much.
    """
    known = [value for value in values if value is not None]
    if not known:
        return Spread()
    mean = statistics.fmean(known)
    if len(known) == 1:
        return Spread(mean=mean, n=1)
    from scipy.special import stdtrit  # only where there are repeats: importing it takes longer than all else here

    std = statistics.stdev(known)
    half = float(stdtrit(len(known) - 1, 0.975)) * std / math.sqrt(len(known))
    return Spread(mean=mean, std=std, ci95_low=mean - half, ci95_high=mean + half, n=len(known))
