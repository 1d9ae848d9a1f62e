"""What tests share: a stand-in for what measures, which takes no time and fails as it is told; sweeps of its cells.

It goes in by the public parameters `make=` and `estimate=` of `schedule.run` and `sweep.run`. What a cell does is one
of its settings, `generate.act`:

    sleep_s: 3           sleep, so that something can happen meanwhile
    wait_for: PATH       sleep until there is such a file
    raises: MESSAGE      raise a RuntimeError; with `unpicklable`, one that no pickle can carry
    exits: 3             end the process, as a crash in C does
    kills: PATH          kill -9 itself, unless that file is there already: so, once. Without a path (""): every time
    on_node: ID          the above only on this node of the cluster;  on_rank: 1  only on this rank;  on_repeat: 1
    else_wait_for: PATH  what is done on the others: sleep until there is such a file
    allocates_mb: 500    take memory and hold it for a minute
    changes: [THREADS]   leave these changed in the process
    prints: TEXT         print it, to both streams, before all else
    n: 7                 nothing: it only makes the cell another one

Each call writes a line `KEY RANK PID NODE` to `log`, where the act names one.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import ray

from orchestrator import config
from workers.prepare import Prepared
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

# The driver refuses options that transformers does not have.
config._settings._GENERATION.add("act")  # type: ignore[attr-defined]


class UnpicklableError(RuntimeError):
    """Holds a lock, which cannot be pickled, and needs arguments that unpickling does not give."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)
        self.lock = threading.Lock()


class StandIn:
    """Obeys `workers.actor.Measures`."""

    _changes: tuple[str, ...] = ()

    def measure(self, run: Run, *, rank: int, barrier: Any = None, prior_runs: int, **_: Any) -> RawProcessResult:
        act: dict[str, Any] = dict(run.cell.generate.get("act") or {})  # type: ignore[arg-type]
        self._changes += tuple(act.get("changes", ()))
        node = ray.get_runtime_context().get_node_id()
        if "log" in act:
            with Path(act["log"]).open("a") as log:
                log.write(f"{run.key} {rank} {os.getpid()} {node}\n")
        begin = time.time()
        meant = {"on_node": node, "on_rank": rank, "on_repeat": run.repeat}
        if all(act.get(where, here) == here for where, here in meant.items()):
            _do(act)
        elif "else_wait_for" in act:
            _do({"wait_for": act["else_wait_for"]})
        if barrier:
            barrier()
        return result(run, rank=rank, prior_runs=prior_runs, begin=begin)

    def changes(self) -> tuple[str, ...]:
        return self._changes


def broken() -> StandIn:
    """A stand-in that cannot be made."""
    raise ImportError("libcudart.so.13 is missing")


def _do(act: dict[str, Any]) -> None:
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
        said = os.path.expandvars(act["raises"])
        raise UnpicklableError(said, "!") if act.get("unpicklable") else RuntimeError(said)


def result(run: Run, *, rank: int = 0, prior_runs: int = 0, begin: float = 1e9) -> RawProcessResult:
    """Made-up figures that are valid, for a run that took no time."""
    tokens = run.cell.output_tokens * run.cell.batch_size
    return RawProcessResult(
        cell_id=run.cell.cell_id, repeat=run.repeat, rank=rank, pid=os.getpid(), prior_runs=prior_runs,
        model_reused=prior_runs > 0, load_s=0.0, window_start_unix_s=begin, window_end_unix_s=begin + 1.0,
        measured_batch_size=run.cell.batch_size // run.cell.processes,
        warmup=WarmupDone(generations=0, duration_s=0.0),
        inference_metrics=InferenceMetrics(
            generations=1, requests=run.cell.batch_size, prompt_tokens=run.cell.input_tokens, generated_tokens=tokens,
            window_s=1.0, output_tokens_per_s=tokens,
        ),
        energy_metrics=EnergyMetrics(energy_reasons=("stand_in",)),
        compute_metrics=ComputeMetrics(flops_reason="stand-in"),
        precision_metadata=PrecisionMetadata(weights="fp32", activations="fp32", compute="fp32"),
        environment=Environment(
            host="stand-in", device="cpu", platform="stand-in", python_version="3", torch_version="0",
            transformers_version="0", joulegrid_version="0",
        ),
    )  # fmt: skip


def not_estimated(*_: Any) -> Prepared:
    """Stands in for counting FLOPs."""
    return Prepared(reason="a stand-in counts nothing")


def settings(acts: Iterable[dict[str, Any]], *, out: str, **more: Any) -> dict[str, Any]:
    """The mapping of a sweep with a cell for each act, as a sweep file holds it. On simulated GPUs, one per cell."""
    axes = {"generate.act": [{"n": n} | act for n, act in enumerate(acts)]} | more.pop("axes", {})
    usual = {"name": "drill", "models": [{"name": "m", "config": {"model_type": "gpt2"}}], "precisions": ["fp32"]}
    return {**usual, "timeout_s": 600, "axes": axes, "out": out, **more}


def sweep(acts: Iterable[dict[str, Any]], *, out: str = "unused", **more: Any) -> config.SweepConfig:
    """The same, read and checked."""
    return config.from_mapping(settings(acts, out=out, **more))


SECRET = "sentinel-5ecret-of-the-workers"
"""What the workers of the drills' cluster hold as HF_TOKEN."""

DRIVER = Path(__file__).parent / "drills" / "driver.py"


class Driver:
    """The program as a process of its own, on the cluster at `address`, with the stand-in for what measures."""

    def __init__(
        self,
        folder: Path,
        sweep: dict[str, Any],
        *words: str,
        address: str = "local",
        stdout: IO[str] | int = subprocess.PIPE,
        **env: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sweep.yaml").write_text(json.dumps(sweep))
        self.process = subprocess.Popen(
            [sys.executable, DRIVER, "sweep.yaml", *words],
            cwd=folder, stdout=stdout, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env=os.environ | {"RAY_ADDRESS": address, "OMP_NUM_THREADS": "1"} | env,
        )  # fmt: skip
        self.said = ""

    def ended(self, timeout_s: float = 240.0) -> int:
        """Wait for its end; returns its exit code. What it printed is in `said`."""
        self.said = self.process.communicate(timeout=timeout_s)[0]
        return self.process.returncode

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.process.pid, signum)


HANGS_AFTER_S = 240.0
"""What has not happened by then never will. No test is about how fast the machine is. Unit: s."""


class AheadClock:
    """Stands in for `time` in the driver's modules: its clock can be put forward, instead of waiting for it."""

    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.by_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.by_s


def until(true: Callable[[], Any], *, within_s: float = HANGS_AFTER_S) -> None:
    """Wait for what other processes do."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def lines(path: Path) -> list[list[str]]:
    """The stand-ins' log so far: key, rank, process, node."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def gone(pid: int) -> bool:
    """Whether there is no such process, or only what its parent has not yet asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
