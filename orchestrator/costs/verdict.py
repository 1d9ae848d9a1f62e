"""Which estimate to use, and with what confidence.

    calflops within 1 % of the dispatcher                     -> calflops, high
    otherwise the closed form within 1 % of the dispatcher    -> architecture, medium
    otherwise                                                 -> parameter_estimate, low

`medium` promises 5 % but requires 1 %: the dispatcher counts a meta model, and a real run may differ from it.
"""

from collections.abc import Sequence

from workers.records import FlopsEstimates, FlopsResult

AGREES = 0.01
"""Largest relative difference at which an independent count confirms an estimate."""


def verdict(
    estimates: FlopsEstimates, *, precision: str, doubt: str | None = None, remarks: Sequence[str] = ()
) -> FlopsResult:
    """The best figure of `estimates`, with its confidence and a note on what was compared.

    Args:
        estimates: the figure of each estimator; `parameter_estimate` is required.
        precision: the type of the matrix products.
        doubt: why the dispatcher's count is unreliable; null if it is reliable.
        remarks: further notes, appended to the result's.
    """
    assert estimates.parameter_estimate is not None
    counted = None if doubt else estimates.dispatcher
    for method, value, confidence in (
        ("calflops", estimates.calflops, "high"),
        ("architecture", estimates.architecture, "medium"),
    ):
        if value is not None and counted and abs(value / counted - 1) <= AGREES:
            difference = _percent(value, counted)
            notes = f"{_NAMES[method]} and the dispatcher's count on the meta model differ by {difference}"
            notes = "; ".join((notes, *remarks))
            return FlopsResult.model_validate(
                {"value": value, "method": method, "confidence": confidence, "precision": precision, "notes": notes}
            )
    return FlopsResult(
        value=estimates.parameter_estimate,
        method="parameter_estimate",
        confidence="low",
        precision=precision,
        notes="; ".join((f"2 x active parameters x tokens, because {doubt or _why_not(estimates)}", *remarks)),
    )


_NAMES = {"calflops": "calflops", "architecture": "the architecture's closed form"}


def _why_not(estimates: FlopsEstimates) -> str:
    if estimates.dispatcher is None:
        return f"the dispatcher's count failed ({estimates.failures.get('dispatcher', 'no reason given')})"
    parts = [
        f"{_NAMES[name]} differs by {_percent(value, estimates.dispatcher)}"
        if (value := getattr(estimates, name)) is not None
        else f"{_NAMES[name]} failed"
        for name in _NAMES
    ]
    return f"against the dispatcher's count of {estimates.dispatcher:.4g}, {' and '.join(parts)}"


def _percent(value: float, reference: float) -> str:
    return f"{value / reference - 1:+.2%}" if reference else "an undefined share"
