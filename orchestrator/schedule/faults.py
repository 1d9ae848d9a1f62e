"""What Ray raises -> how a run ended. What each fault looks like was tried on Ray 2.60 (ARCHITECTURE.md)."""

import re
import socket

from ray import exceptions

from workers.records import ProcessFailure, Run
from workers.records.text import one_line
from workers.redact import redact

# Ray says "unavailable" for a node that was cut off, "died" for a process that was killed; to a sweep both are lost.
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

NO_ROOM = "NoRoom"
"""`error_type` of runs that no node can hold."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def failure(run: Run, error: Exception, *, host: str | None, attempt: int, rank: int | None = None) -> ProcessFailure:
    """The typed failure for what `ray.get` raised."""
    if isinstance(error, exceptions.OutOfMemoryError):
        status, kind = "oom", "HostOutOfMemory"
    elif isinstance(error, _LOST):
        status, kind = "lost", type(error).__name__
    else:
        status, kind = "failed", type(error).__name__
    return ProcessFailure(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        rank=rank,
        status=status,
        error_type=kind,
        error_message=in_a_line(error),
        traceback=redact(str(error)),
        host=host,
        attempt=attempt,
    )


def timed_out(run: Run, timeout_s: float, *, host: str | None, attempt: int) -> ProcessFailure:
    """The failure of a run that did not end in time; its processes were killed."""
    return ProcessFailure(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        status="timeout",
        error_type="Timeout",
        error_message=f"no result within timeout_s = {timeout_s:g} s; its processes were killed",
        host=host,
        attempt=attempt,
    )


_ENDS = {"oom": "ran out of memory", "timeout": "timed out", "failed": "failed"}
"""How a run ends that would end so again, in words."""


def is_hopeless(failure: ProcessFailure) -> bool:
    """Whether another try of the same cell would end the same way. What was lost may pass elsewhere."""
    return failure.status in _ENDS and failure.attempt > 0


def not_repeated(run: Run, failure: ProcessFailure) -> ProcessFailure:
    """The end of a run that is not tried, since another repeat of its cell came to `failure`."""
    return ProcessFailure(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        status=failure.status,
        error_type=failure.error_type,
        error_message=f"not tried: repeat {failure.repeat} {_ENDS[failure.status]}: {failure.error_message}",
        attempt=0,
    )


def untried(run: Run, reason: str, *, error_type: str = "Impossible") -> ProcessFailure:
    """The failure of a run that nothing was tried for."""
    return ProcessFailure(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        status="skipped",
        error_type=error_type,
        error_message=reason,
        host=socket.gethostname(),
        attempt=0,
    )


def in_a_line(error: Exception) -> str:
    """What an error says: its first line, or the last where that line only opens a worker's traceback."""
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    is_traceback = isinstance(error, exceptions.RayTaskError) or "creation task" in lines[0]
    return one_line(redact(lines[-1 if is_traceback else 0]))
