"""The Ray actor that measures. It returns exceptions as `ProcessFailure`, which can always be serialised.

Each process has one actor. It imports the engine once and keeps its model for the next run that needs the same model.
Runs and replies travel as JSON; see `workers.records.wire`.
"""

import os
import socket
import traceback
from typing import Any

import ray

from workers.backend import create
from workers.failures import is_lost, is_out_of_memory
from workers.gang.meeting import Gang
from workers.machine import facts, output
from workers.machine.quiet import silence_known_warnings
from workers.records import ProcessFailure, RawProcessResult, Ready, Reply, Run, Texts
from workers.records.errors import message
from workers.records.gc_pause import gc_paused
from workers.records.redact import redact, redacted
from workers.records.text import one_line


class MeasuringActor:
    """One process of a gang (usually a gang of one)."""

    _gang: Gang | None = None  # Ray calls `__repr__` even if `__init__` was not called

    def __init__(self, engine: str, rank: int, world_size: int, tensor_parallel: int) -> None:
        self._engine = engine
        self._rank = rank
        if world_size > 1:
            ip = ray.util.get_node_ip_address()
            self._gang = Gang(rank=rank, world_size=world_size, tensor_parallel=tensor_parallel, ip=ip)
        self._runs = 0

    def __repr__(self) -> str:
        """The name that Ray prints before this actor's log lines."""
        return f"rank {self._rank}" if self._gang else "worker"

    def prepare(self, texts: Texts) -> str:
        """Import all heavy libraries; returns a `Ready`. Not in `__init__`, where Ray loses an exception's class."""
        silence_known_warnings()
        self._texts = texts
        with gc_paused():
            self._backend = create(self._engine)
        return Ready(
            pid=os.getpid(), host=socket.gethostname(), hardware=facts.hardware(), output_files=output.files()
        ).model_dump_json()

    def serve(self) -> str:
        """Listen for the other ranks of the gang; returns the address, `host:port`."""
        assert self._gang is not None
        return self._gang.serve()

    def join(self, address: str) -> None:
        """Meet the other ranks."""
        assert self._gang is not None
        self._gang.join(address)

    def run(self, run_json: str, attempt: int) -> str:
        """Measure one `Run`; returns a `Reply`, which also carries any failure."""
        run = Run.model_validate_json(run_json)
        output.begin(f"{one_line(run.cell.model.name)} {run.cell.precision} {run.key}")
        reply = self._measured(run, attempt)
        printed = output.printed(output.files(), run.key)
        return reply.model_copy(update={"printed": printed}).model_dump_json()

    def _measured(self, run: Run, attempt: int) -> Reply:
        prior_runs, self._runs = self._runs, self._runs + 1
        result: RawProcessResult | ProcessFailure
        try:
            result = self._backend.measure(
                run,
                texts=self._texts,
                rank=self._rank,
                barrier=self._gang.barrier if self._gang else None,
                prior_runs=prior_runs,
            )
        except (Exception, SystemExit) as error:  # a model's own code may call `sys.exit`
            failure = self._failure(run, error, attempt)
            if failure.status == "lost":
                return Reply(result=redacted(failure), reusable=False)
            result = failure
        # Only now that the exception is gone: its traceback holds references to the run's memory.
        changes = self._changes()
        if isinstance(result, RawProcessResult):
            environment = result.environment.model_copy(update={"node_id": node_id()})
            result = result.model_copy(update={"environment": environment})
        return Reply(result=redacted(result), reusable=not changes, changes=changes)

    def _changes(self) -> tuple[str, ...]:
        """Why this process cannot measure another run. A failure of this check does not affect the measurement."""
        try:
            return tuple(self._backend.changes())
        except Exception as error:
            return (f"the check for changes failed ({type(error).__name__}: {error})",)

    def _failure(self, run: Run, error: BaseException, attempt: int) -> ProcessFailure:
        return ProcessFailure(
            cell_id=run.cell.cell_id,
            repeat=run.repeat,
            rank=self._rank,
            status="oom" if is_out_of_memory(error) else "lost" if is_lost(error) else "failed",
            error_type=type(error).__name__,
            # Redacted before a long text is cut: half a secret would not be recognised.
            error_message=redact(message(error)),
            traceback=redact("".join(traceback.format_exception(error))),
            host=socket.gethostname(),
            attempt=attempt,
        )


def node_id() -> str:
    """The Ray node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())


# Ray restarts nothing: only the driver repeats a run.
RemoteActor: Any = ray.remote(max_restarts=0, max_task_retries=0)(MeasuringActor)
