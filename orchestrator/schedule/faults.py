"""Turns Ray's exceptions into failures of runs. Each was tried on Ray 2.60 (ARCHITECTURE.md)."""

import re
import socket

from ray import exceptions

from workers.records import ProcessFailure, Run
from workers.records.redact import redact
from workers.records.text import one_line

# Ray calls a node that was cut off "unavailable" and a process that was killed "died"; for a sweep, both are lost.
_LOST = (
    exceptions.RayActorError,
    exceptions.ActorUnschedulableError,
    exceptions.ActorPlacementGroupRemoved,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.WorkerCrashedError,
    exceptions.ObjectLostError,
    exceptions.ObjectStoreFullError,
    exceptions.OutOfDiskError,
    exceptions.RpcError,
    exceptions.RaySystemError,
)

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def failure(run: Run, error: Exception, *, host: str | None, attempt: int, rank: int | None = None) -> ProcessFailure:
    """The failure of a run for which `ray.get` raised `error`."""
    if isinstance(error, exceptions.OutOfMemoryError):
        status, error_type = "oom", "HostOutOfMemory"
    elif isinstance(error, _LOST):
        status, error_type = "lost", type(error).__name__
    else:
        status, error_type = "failed", type(error).__name__
    return ProcessFailure(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        rank=rank,
        status=status,
        error_type=error_type,
        error_message=first_line(error),
        traceback=redact(str(error)),
        host=host,
        attempt=attempt,
    )


def timed_out(run: Run, timeout_s: float, *, host: str | None, attempt: int) -> ProcessFailure:
    """The failure of a run that did not end within `timeout_s`; its processes were killed."""
    return ProcessFailure(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        status="timeout",
        error_type="Timeout",
        error_message=f"no result within timeout_s = {timeout_s:g} s; its processes were killed",
        host=host,
        attempt=attempt,
    )


_ENDINGS = {"oom": "ran out of memory", "timeout": "timed out", "failed": "failed"}
"""The statuses that another try would not change, in words."""


def is_hopeless(failure: ProcessFailure) -> bool:
    """Whether another try of the cell would fail in the same way. A run that was lost may succeed elsewhere."""
    return failure.status in _ENDINGS and failure.attempt > 0


def not_repeated(run: Run, failure: ProcessFailure) -> ProcessFailure:
    """The failure of a run that is not tried because another repeat of its cell ended with `failure`."""
    return ProcessFailure(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        status=failure.status,
        error_type=failure.error_type,
        error_message=f"not tried: repeat {failure.repeat} {_ENDINGS[failure.status]}: {failure.error_message}",
        attempt=0,
    )


def skipped(run: Run, reason: str, *, error_type: str = "Impossible") -> ProcessFailure:
    """The failure of a run that is skipped without a try."""
    return ProcessFailure(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        status="skipped",
        error_type=error_type,
        error_message=reason,
        host=socket.gethostname(),
        attempt=0,
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message, or the last one if the first only opens a worker's traceback."""
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    is_traceback = isinstance(error, exceptions.RayTaskError) or "creation task" in lines[0]
    return one_line(redact(lines[-1 if is_traceback else 0]))
