"""Which estimator to believe, and how far.

    calflops within 1 % of the dispatcher                     -> calflops, high
    otherwise the architecture's form within 1 % of it        -> architecture, medium
    otherwise                                                 -> parameter_estimate, low

`medium` promises 5 % and is given at 1 %: the dispatcher counted a twin, and a real run may differ from it.
"""

from collections.abc import Sequence

from workers.records import FlopsEstimates, FlopsResult

AGREES = 0.01
"""Relative difference up to which an independent count bears an estimate out."""


def verdict(
    estimates: FlopsEstimates, *, precision: str, doubt: str | None = None, remarks: Sequence[str] = ()
) -> FlopsResult:
    """The figure to take from `estimates`, with its confidence and a sentence that says what was compared.

    Args:
        estimates: every estimator's figure; `parameter_estimate` is there.
        precision: the type that the products are computed in.
        doubt: why the dispatcher's count is not to be relied on, where it is not.
        remarks: what else a reader must know; they end the notes.
    """
    assert estimates.parameter_estimate is not None
    counted = None if doubt else estimates.dispatcher
    for method, value, confidence in (
        ("calflops", estimates.calflops, "high"),
        ("architecture", estimates.architecture, "medium"),
    ):
        if value is not None and counted and abs(value / counted - 1) <= AGREES:
            off = _percent(value, counted)
            notes = f"{_NAMES[method]} and the dispatcher's count of a meta-device twin differ by {off}"
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
        return f"no independent count could be made ({estimates.failures.get('dispatcher', 'no reason given')})"
    parts = [
        f"{_NAMES[name]} differs by {_percent(value, estimates.dispatcher)}"
        if (value := getattr(estimates, name)) is not None
        else f"{_NAMES[name]} failed"
        for name in _NAMES
    ]
    return f"against the dispatcher's count of {estimates.dispatcher:.4g}, {' and '.join(parts)}"


def _percent(value: float, reference: float) -> str:
    return f"{value / reference - 1:+.2%}" if reference else "everything"
