"""The result of preparing a model: its costs counted, its weights fetched."""

import traceback as tracebacks

from workers.records.base import Record
from workers.records.errors import message
from workers.records.flops import InferenceCost
from workers.records.redact import redact
from workers.records.text import Message, Traceback


class Prepared(Record):
    """The costs of a model, or why they could not be counted or its weights not fetched."""

    costs: tuple[InferenceCost, ...] = ()
    """Cost of one inference of each shape, in their order; empty with `reason`."""
    reason: Message | None = None
    """Why nothing could be counted or fetched."""
    error_type: str | None = None
    """Class of the error if the model is not available; null if measuring may still succeed."""
    traceback: Traceback | None = None
    """Where the error was raised."""

    @classmethod
    def failed(cls, error: Exception, *, fatal: bool) -> "Prepared":
        """The preparation that `error` ended; `fatal` if the model is not available at all."""
        return cls(
            reason=redact(message(error)),
            error_type=type(error).__name__ if fatal else None,
            traceback=redact("".join(tracebacks.format_exception(error))),
        )
