"""Unmeasured generations until the times settle: the rule, and the loop that follows it."""

import statistics
from collections.abc import Callable, Sequence

from workers.records import Warmup, WarmupDone


def variation(durations_s: Sequence[float], last: int) -> float | None:
    """Coefficient of variation (sample deviation over mean) of the `last` durations; None with fewer than two."""
    tail = durations_s[-last:] if last else ()
    if len(tail) < 2:
        return None
    mean = statistics.fmean(tail)
    return statistics.stdev(tail) / mean if mean > 0 else None


def warm_up(
    generate: Callable[[], float], rule: Warmup, *, agree: Callable[[bool], bool] = lambda decision: decision
) -> WarmupDone:
    """Call `generate` (which returns its own duration in s) until `rule` is met.

    With `rule.cv` None: exactly `rule.floor` calls. Otherwise at least `floor` and at most `cap` calls, until the
    variation of the last max(floor, 2) durations is below `cv`. `agree` gives all ranks of a split model one decision.
    """
    width = max(rule.floor, 2)
    durations: list[float] = []
    converged = None if rule.cv is None else False
    while len(durations) < (rule.floor if rule.cv is None else max(rule.cap, rule.floor)):
        durations.append(generate())
        if rule.cv is not None and len(durations) >= width:
            spread = variation(durations, width)
            converged = agree(spread is not None and spread < rule.cv)
            if converged:
                break
    return WarmupDone(
        generations=len(durations),
        duration_s=sum(durations),
        cv=variation(durations, width),
        converged=converged,
    )
