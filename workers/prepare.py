"""What can be done for a model before a GPU's turn: count its FLOPs. Runs in CPU tasks of its own."""

import os
import traceback
from collections.abc import Sequence

from workers.errors import ModelLoadError
from workers.records import InferenceCost, ModelSpec, Record, Shape


class Prepared(Record):
    """What came of it."""

    costs: tuple[InferenceCost, ...] = ()
    """Cost of one inference of each shape, in their order; empty with `reason`."""
    reason: str | None = None
    """Why nothing could be counted."""
    error_type: str | None = None
    """Class of the error that means the model cannot be had at all; null where measuring may still go well."""
    traceback: str | None = None
    """Where it was raised."""


def prepare(model: ModelSpec, load: dict[str, object], shapes: Sequence[Shape]) -> Prepared:
    """Count what one inference of each shape costs; whatever goes wrong comes back as a value."""
    from workers import flops

    os.nice(10)  # beside a measurement on the same host, counting can wait
    try:
        costs = flops.estimate(model, shapes, load=load)
    except Exception as error:
        fatal = isinstance(error, ModelLoadError)
        return Prepared(
            reason=" ".join(str(error).split()),
            error_type=type(error).__name__ if fatal else None,
            traceback="".join(traceback.format_exception(error)),
        )
    return Prepared(costs=tuple(costs))
