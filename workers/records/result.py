"""A process's result: its figures, or its failure."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from workers.records.base import Record
from workers.records.cell import Run
from workers.records.energy import EnergyMetrics
from workers.records.flops import ComputeMetrics
from workers.records.inference import InferenceMetrics, WarmupDone
from workers.records.precision import PrecisionMetadata
from workers.records.text import Message, Traceback

LARGEST, _SMALLEST, _MOST = 1e60, 1e-30, 10**15
_SHORTEST_S, _LONGEST_S, _LATEST_UNIX_S = 1e-6, 1e9, 4e9
"""Bounds of a measurement's figures. They keep every sum, ratio and square of figures within a float's range."""


Ordinal = Annotated[int, Field(ge=0, lt=2**31)]
"""A small non-negative number."""


NO_CAPACITY = "NoRoom"
"""`error_type` of runs that no node can hold."""


class CombinedMetrics(Record):
    """Inference, energy and compute figures, and figures derived from two of them."""

    inference: InferenceMetrics
    energy: EnergyMetrics
    compute: ComputeMetrics

    @property
    def efficiency_tokens_per_joule(self) -> float | None:
        """Generated tokens per joule of GPU energy; null without energy. Unit: tokens/J."""
        return self.inference.generated_tokens / self.energy.gpu_energy_j if self.energy.gpu_energy_j else None

    @property
    def efficiency_flops_per_watt(self) -> float | None:
        """FLOP/s per watt of mean GPU power; null without energy or FLOPs. Unit: FLOP/s/W."""
        if not self.energy.gpu_energy_j or not self.energy.duration_s or self.compute.flops_per_second is None:
            return None
        return self.compute.flops_per_second / (self.energy.gpu_energy_j / self.energy.duration_s)


class QualityMetrics(Record):
    """How well the model predicts a text."""

    perplexity: NonNegativeFloat | None = None
    """exp of the mean negative log-likelihood per scored token; null with `perplexity_reason`. Unit: 1."""
    perplexity_reason: str | None = None
    """Why the perplexity is missing."""
    scored_tokens: NonNegativeInt = 0
    """Number of scored tokens. Unit: tokens."""
    context_tokens: NonNegativeInt = 0
    """Length of the sliding window. Unit: tokens."""
    stride_tokens: NonNegativeInt = 0
    """How far it moved each time. Unit: tokens."""


class Environment(Record):
    """The hardware and software that a process measured with."""

    host: str
    """Host name of the node."""
    node_id: str | None = None
    """Ray's id of the node."""
    device: Literal["cuda", "cpu"]
    """Where the model ran."""
    gpu_names: tuple[str, ...] = ()
    """Names of the process's GPUs, from NVML or CUDA."""
    gpu_uuids: tuple[str, ...] = ()
    """UUIDs of the process's GPUs (`GPU-...`)."""
    driver_version: str | None = None
    """Version of the NVIDIA driver; null without one."""
    cuda_version: str | None = None
    """Version of CUDA that torch was built with; null for a CPU build."""
    cpu_name: str | None = None
    """Processor model."""
    cpu_threads: NonNegativeInt | None = None
    """Number of threads that torch computes with."""
    memory_total_mb: NonNegativeFloat | None = None
    """Total memory of all GPUs of the process, or of the host if it uses none. Unit: MB (10^6 bytes)."""
    platform: str
    """Operating system and architecture."""
    python_version: str
    """Version of Python."""
    torch_version: str
    """Version of torch, with its build (`+cpu`, `+cu130`)."""
    transformers_version: str
    """Version of transformers."""
    quantiser_version: str | None = None
    """bitsandbytes or torchao with its version, if the precision uses one."""
    joulegrid_version: str
    """Version of this program on the worker."""


class RawProcessResult(Record):
    """One process's figures of one run, as measured."""

    cell_id: str
    """Hash of the cell's settings."""
    repeat: NonNegativeInt
    """0-based repeat of the cell."""
    rank: NonNegativeInt = 0
    """0-based process of the run."""
    pid: NonNegativeInt
    """Process id on its host."""
    prior_runs: NonNegativeInt
    """Number of runs that this process had done before."""
    model_reused: bool
    """Whether the model was still loaded from an earlier run of this process."""
    load_s: NonNegativeFloat
    """Time to load the model, in the run that loaded it. Unit: s."""
    window_start_unix_s: NonNegativeFloat
    """Start of the window, by the host's wall clock. Unit: s since 1970."""
    window_end_unix_s: NonNegativeFloat
    """End of the window, by the host's wall clock. Unit: s since 1970."""
    window_opened_after_barrier_s: NonNegativeFloat | None = None
    """Time from the barrier of the run's ranks to this window's start, monotonic; null with one rank. Unit: s."""
    measured_batch_size: NonNegativeInt
    """This rank's share of the batch."""
    attention_used: str | None = None
    """The attention implementation that the model uses; null if the architecture offers no choice."""
    warmup: WarmupDone
    inference_metrics: InferenceMetrics
    energy_metrics: EnergyMetrics
    compute_metrics: ComputeMetrics
    precision_metadata: PrecisionMetadata
    quality: QualityMetrics = QualityMetrics()
    environment: Environment

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        """Reject figures that no measurement can have: they would divide by zero or overflow a column."""
        tokens = self.inference_metrics
        if not (tokens.generations and tokens.requests and self.measured_batch_size):
            raise ValueError("the window has no generation")
        if tokens.generated_tokens < tokens.requests:
            raise ValueError(f"{tokens.requests} sequences cannot have only {tokens.generated_tokens} tokens in total")
        if not _SHORTEST_S <= tokens.window_s <= _LONGEST_S or (self.window_opened_after_barrier_s or 0.0) > _LONGEST_S:
            raise ValueError(f"window_s {tokens.window_s:g} is out of range")
        if not self.window_start_unix_s < self.window_end_unix_s <= _LATEST_UNIX_S:
            raise ValueError("the window does not end after its start, or ends too far in the future")
        for value in _numbers(self):
            if value and not _SMALLEST <= abs(value) <= (_MOST if isinstance(value, int) else LARGEST):
                raise ValueError(f"{value:g} is out of a measurement's range")
        return self

    @property
    def combined(self) -> CombinedMetrics:
        """Inference, energy and compute figures as one record."""
        return CombinedMetrics(
            inference=self.inference_metrics, energy=self.energy_metrics, compute=self.compute_metrics
        )


class ProcessFailure(Record):
    """How a run ended without figures. It is a value, as Ray cannot pickle every exception."""

    cell_id: str
    """Hash of the cell's settings."""
    repeat: NonNegativeInt
    """0-based repeat of the cell."""
    rank: Ordinal | None = None
    """The process that failed; null if the whole run failed."""
    status: Literal["failed", "oom", "timeout", "lost", "skipped"]
    """How the run ended."""
    error_type: Message
    """The exception's class, or the name of the event."""
    error_message: Message
    """The message in one printable line; longer than 4,000 characters, it is cut in the middle."""
    traceback: Traceback | None = None
    """Where it was raised, printable; longer than 64,000 characters, it is cut in the middle."""
    log: str | None = None
    """Log of the run, relative to the results folder; null if there is none."""
    host: str | None = None
    """Host name of the node where it happened."""
    attempt: Ordinal = 1
    """Number of this attempt, 1-based; 0 if the run never started."""


class Outcome(Record):
    """How one run ended: a result per rank, or one failure; with the failures of earlier attempts."""

    run: Run
    results: tuple[RawProcessResult, ...] = ()
    """One per rank, in rank order; empty if the run failed."""
    failure: ProcessFailure | None = None
    """Why the run failed; null if it did not."""
    earlier_failures: tuple[ProcessFailure, ...] = ()
    """Failures of earlier attempts of the same run."""
    printed: str = Field("", exclude=True)
    """Output of the run's processes, for its log; not stored in the journal."""

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        """Reject parts of another run, and a run that lacks a rank."""
        failures = (*self.earlier_failures, *([self.failure] if self.failure else []))
        keys = {f"{result.cell_id}.{result.repeat}" for result in self.results}
        keys |= {f"{failure.cell_id}.{failure.repeat}" for failure in failures}
        if keys - {self.run.key}:
            raise ValueError(f"a result or failure belongs to another run than {self.run.key}")
        ranks, all_ranks = [result.rank for result in self.results], range(self.run.cell.world_size)
        if self.failure is None and ranks != [*all_ranks]:
            raise ValueError(f"expected a failure or results of {len(all_ranks)} ranks, got results of ranks {ranks}")
        if ranks != sorted(set(ranks) & set(all_ranks)):
            raise ValueError(f"results of ranks {ranks} do not fit a run of {len(all_ranks)} ranks")
        if any(result.measured_batch_size > self.run.cell.batch_size for result in self.results):
            raise ValueError(f"a rank's measured_batch_size exceeds the whole batch of {self.run.cell.batch_size}")
        return self

    @property
    def status(self) -> str:
        """`ok`, or the status of the failure."""
        return self.failure.status if self.failure else "ok"


def _numbers(value: Any) -> Iterator[float]:
    """Every number in a record and its parts; of a tuple of numbers, the smallest and the largest."""
    if isinstance(value, Record):
        for name in type(value).model_fields:
            yield from _numbers(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, tuple):
        if value and isinstance(value[0], float):
            yield from (min(value), max(value))
        else:
            for item in value:
                yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value
