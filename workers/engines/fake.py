"""The `fake` engine: it needs neither a model nor a GPU, takes no time, and fails on request.

Use `engine: fake` to try out a cluster, a bucket or a schedule without loading a model. This program's own tests use it
to simulate processes that die. The setting `generate.act` of a cell says what it does:

    sleep_s: 3           sleep
    wait_for: PATH       sleep until this file exists
    raises: MESSAGE      raise a RuntimeError; with `unpicklable`, one that cannot be pickled
    exits: 3             end the process, as a crash in C does
    kills: PATH          kill -9 itself unless this file exists, then create it; with "", kill itself every time
    on_node: ID          the above only on this node of the cluster;  on_rank: 1  only on this rank;  on_repeat: 1
    else_wait_for: PATH  on the others: sleep until this file exists
    allocates_mb: 500    allocate memory and hold it for a minute
    changes: [THREADS]   report these changes of the process
    prints: TEXT         print it to both streams, before everything else
    log: PATH            append a line `KEY RANK PID NODE`
    n: 7                 nothing: only makes the cell different
"""

import os
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workers.records import (
    ComputeMetrics,
    EnergyMetrics,
    Environment,
    InferenceMetrics,
    PrecisionMetadata,
    RawProcessResult,
    Run,
    WarmupDone,
)
from workers.records.energy import KnownEnergyReason
from workers.records.errors import JouleGridError

_NOTHING = "the fake engine measures nothing"
_WINDOW_S = 1.0
"""Length of the window in every result. Unit: s."""
_NO_ENERGY: KnownEnergyReason = "fake_engine"


class UnpicklableError(JouleGridError, RuntimeError):
    """Holds a lock, which cannot be pickled, and needs arguments that unpickling does not pass."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)
        self.lock = threading.Lock()


class Fake:
    """Implements `workers.backend.Backend`."""

    def __init__(self) -> None:
        self._changes: tuple[str, ...] = ()

    def measure(
        self, run: Run, *, rank: int = 0, barrier: Callable[[], None] | None = None, prior_runs: int = 0, **_: Any
    ) -> RawProcessResult:
        """Do what the cell's `generate.act` says; the figures are fictitious, and `energy_reasons` says so."""
        act: Mapping[str, Any] = dict(run.cell.generate.get("act") or {})  # type: ignore[arg-type] # checked by _act
        self._changes += tuple(act.get("changes", ()))
        begin_unix_s = time.time()
        here = {"on_node": _node_id(), "on_rank": rank, "on_repeat": run.repeat}
        if "log" in act:
            with Path(act["log"]).open("a") as log:
                log.write(f"{run.key} {rank} {os.getpid()} {here['on_node']}\n")
        if all(act.get(where, place) == place for where, place in here.items()):
            _act(act)
        elif "else_wait_for" in act:
            _act({"wait_for": act["else_wait_for"]})
        if barrier:
            barrier()
        return fake_result(run, rank=rank, prior_runs=prior_runs, begin_unix_s=begin_unix_s)

    def changes(self) -> tuple[str, ...]:
        """The changes that the acts report."""
        return self._changes


def _act(act: Mapping[str, Any]) -> None:
    for stream in (sys.stdout, sys.stderr) if "prints" in act else ():
        print(os.path.expandvars(act["prints"]), file=stream)
    while "wait_for" in act and not Path(act["wait_for"]).exists():
        time.sleep(0.02)
    time.sleep(act.get("sleep_s", 0))
    if "kills" in act and not (act["kills"] and Path(act["kills"]).exists()):
        if act["kills"]:
            Path(act["kills"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if "exits" in act:
        os._exit(act["exits"])
    if "allocates_mb" in act:
        held = bytearray(os.urandom(1_000_000)) * act["allocates_mb"]
        time.sleep(60)
        del held
    if "raises" in act:
        message = os.path.expandvars(act["raises"])
        raise UnpicklableError(message, "!") if act.get("unpicklable") else RuntimeError(message)


def _node_id() -> str:
    """The Ray node that this process runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def fake_result(run: Run, *, rank: int = 0, prior_runs: int = 0, begin_unix_s: float | None = None) -> RawProcessResult:
    """Fictitious but valid figures, for a run that took no time."""
    begin_unix_s = time.time() if begin_unix_s is None else begin_unix_s
    tokens = run.cell.output_tokens * run.cell.batch_size
    return RawProcessResult(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        rank=rank,
        pid=os.getpid(),
        prior_runs=prior_runs,
        model_reused=prior_runs > 0,
        load_s=0.0,
        window_start_unix_s=begin_unix_s,
        window_end_unix_s=begin_unix_s + _WINDOW_S,
        measured_batch_size=run.cell.batch_size // run.cell.processes,
        warmup=WarmupDone(generations=0, duration_s=0.0),
        inference_metrics=InferenceMetrics(
            generations=1,
            requests=run.cell.batch_size,
            prompt_tokens=run.cell.input_tokens,
            generated_tokens=tokens,
            window_s=_WINDOW_S,
            output_tokens_per_s=tokens / _WINDOW_S,
            latency_reason=_NOTHING,
        ),
        energy_metrics=EnergyMetrics(energy_reasons=(_NO_ENERGY,)),
        compute_metrics=ComputeMetrics(peak_memory_reason=_NOTHING),
        precision_metadata=PrecisionMetadata(weights="fp32", activations="fp32", compute="fp32"),
        environment=Environment(
            host=socket.gethostname(),
            device="cpu",
            platform=platform.platform(),
            python_version=platform.python_version(),
            torch_version="none",
            transformers_version="none",
            joulegrid_version="none",
        ),
    )
