"""The Ray actor around the measuring room: an exception becomes a `ProcessFailure`, a value that always travels.

One process, one actor: it imports torch once and keeps its model for the next run that needs the same.
"""

import os
import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import ray

from workers import output
from workers.errors import is_lost, is_out_of_memory, message
from workers.gang import Gang
from workers.hardware import Facts, facts
from workers.imports import uncollected
from workers.quiet import hush
from workers.records import InferenceCost, ProcessFailure, RawProcessResult, Run
from workers.records.text import one_line
from workers.redact import redact, redacted


class Measures(Protocol):
    """What an actor does with a run: `workers.measure.Measurer`, or a stand-in that needs no model."""

    def measure(
        self,
        run: Run,
        *,
        cost: InferenceCost | None,
        cost_reason: str | None,
        texts: Mapping[str, Sequence[str]],
        rank: int,
        barrier: Callable[[], None] | None,
        prior_runs: int,
    ) -> RawProcessResult:
        """Measure one run on this process."""

    def changes(self) -> Sequence[str]:
        """What is not as it was before this process's first run, in words; empty: it is fit for another."""


class Greeting(NamedTuple):
    """What an actor says once it can work."""

    pid: int
    host: str
    hardware: Facts
    """What the rules of the impossible look at."""
    output_files: tuple[str, ...] = ()
    """Where on its host lies what it prints."""


class Reply(NamedTuple):
    """How a run ended on one process, and whether the process is fit for another."""

    result: RawProcessResult | ProcessFailure
    reusable: bool
    changes: tuple[str, ...] = ()
    """What the run left changed in the process, in words."""
    printed: str = ""
    """What the process printed meanwhile."""


class MeasuringActor:
    """One process of a gang (of one, mostly)."""

    _gang: Gang | None = None  # Ray asks for the name of an actor also where `__init__` could not be called

    def __init__(self, make: Callable[[], Measures], rank: int, world_size: int, tensor_parallel: int) -> None:
        self._make = make
        self._rank = rank
        if world_size > 1:
            ip = ray.util.get_node_ip_address()
            self._gang = Gang(rank=rank, world_size=world_size, tensor_parallel=tensor_parallel, ip=ip)
        self._runs = 0

    def __repr__(self) -> str:
        """What Ray writes before this actor's log lines."""
        return f"rank {self._rank}" if self._gang else "worker"

    def prepare(self, texts: Mapping[str, Sequence[str]]) -> Greeting:
        """Import everything heavy. Here and not in `__init__`, so that a failure keeps its own class."""
        hush()
        self._texts = texts
        with uncollected():
            self._measurer = self._make()
        return Greeting(os.getpid(), socket.gethostname(), hardware=facts(), output_files=output.files())

    def serve(self) -> str:
        """Begin to listen for the other ranks of the gang; returns where: `host:port`."""
        assert self._gang is not None
        return self._gang.serve()

    def join(self, address: str) -> None:
        """Meet the other ranks."""
        assert self._gang is not None
        self._gang.join(address)

    def run(self, run: Run, cost: InferenceCost | None, cost_reason: str | None, attempt: int) -> Reply:
        """Measure one run; whatever goes wrong comes back as a value."""
        name = f"{one_line(run.cell.model.name)} {run.cell.precision} {run.cell.cell_id}.{run.repeat}"
        output.begin(name)
        reply = self._measured(run, cost, cost_reason, attempt)
        return reply._replace(printed=output.printed(output.files(), run.key))

    def _measured(self, run: Run, cost: InferenceCost | None, cost_reason: str | None, attempt: int) -> Reply:
        prior_runs, self._runs = self._runs, self._runs + 1
        result: RawProcessResult | ProcessFailure
        try:
            result = self._measurer.measure(
                run,
                cost=cost,
                cost_reason=cost_reason,
                texts=self._texts,
                rank=self._rank,
                barrier=self._gang.barrier if self._gang else None,
                prior_runs=prior_runs,
            )
        except (Exception, SystemExit) as error:  # a model's own code may call `sys.exit`
            failure = self._failure(run, error, attempt)
            if failure.status == "lost":
                return Reply(redacted(failure), reusable=False)
            result = failure
        # Not before the exception is gone: its traceback holds what the run had in memory.
        changes = self._changes()
        if isinstance(result, RawProcessResult):
            node_id = ray.get_runtime_context().get_node_id()
            environment = result.environment.model_copy(update={"node_id": node_id})
            result = result.model_copy(update={"environment": environment})
        return Reply(redacted(result), reusable=not changes, changes=changes)

    def _changes(self) -> tuple[str, ...]:
        """What makes this process unfit to go on. What was measured before stands, whatever asking comes to."""
        try:
            return tuple(self._measurer.changes())
        except Exception as error:
            return (f"what it left changed cannot be seen ({type(error).__name__}: {error})",)

    def _failure(self, run: Run, error: BaseException, attempt: int) -> ProcessFailure:
        return ProcessFailure(
            cell_id=run.cell.cell_id,
            repeat=run.repeat,
            rank=self._rank,
            status="oom" if is_out_of_memory(error) else "lost" if is_lost(error) else "failed",
            error_type=type(error).__name__,
            # Secrets first: a long text is cut, and half a secret is known by nothing.
            error_message=redact(message(error)),
            traceback=redact("".join(traceback.format_exception(error))),
            host=socket.gethostname(),
            attempt=attempt,
        )


# A run is never repeated behind the driver's back: Ray restarts nothing, the driver decides.
RemoteActor: Any = ray.remote(max_restarts=0, max_task_retries=0)(MeasuringActor)
