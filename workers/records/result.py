"""What a process sends back: its figures, or how it failed."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from workers.records._base import Record
from workers.records.cell import Run
from workers.records.energy import EnergyMetrics
from workers.records.flops import ComputeMetrics
from workers.records.inference import InferenceMetrics, WarmupDone
from workers.records.precision import PrecisionMetadata
from workers.records.text import Message, Traceback

LARGEST, _SMALLEST, _MOST = 1e60, 1e-30, 10**15
_SHORTEST_S, _LONGEST_S, _LATEST_UNIX_S = 1e-6, 1e9, 4e9
"""Bounds of what a measurement can come to: far within what Parquet and a float hold, so that no sum, ratio or square
of figures leaves those."""


Ordinal = Annotated[int, Field(ge=0, lt=2**31)]
"""Which of a few."""


class CombinedMetrics(Record):
    """The three kinds of figures together, and what follows from two of them."""

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
    """Why there is no perplexity."""
    scored_tokens: NonNegativeInt = 0
    """Tokens that the mean is over. Unit: tokens."""
    context_tokens: NonNegativeInt = 0
    """Length of the sliding window. Unit: tokens."""
    stride_tokens: NonNegativeInt = 0
    """How far it moved each time. Unit: tokens."""


class Environment(Record):
    """Where and with what a process measured."""

    host: str
    """Host name of the node."""
    node_id: str | None = None
    """Ray's id of the node."""
    device: Literal["cuda", "cpu"]
    """Where the model ran."""
    gpu_names: tuple[str, ...] = ()
    """The process's GPUs, as NVML or CUDA name them."""
    gpu_uuids: tuple[str, ...] = ()
    """The process's GPUs (`GPU-...`)."""
    driver_version: str | None = None
    """NVIDIA driver; null without one."""
    cuda_version: str | None = None
    """CUDA that torch was built with; null on a CPU build."""
    cpu_name: str | None = None
    """Processor model."""
    cpu_threads: NonNegativeInt | None = None
    """Threads that torch computes with."""
    memory_total_mb: NonNegativeFloat | None = None
    """Memory of the host, or of the card where one is used. Unit: MB (10^6 bytes)."""
    platform: str
    """Operating system and architecture."""
    python_version: str
    """Python."""
    torch_version: str
    """torch, with its build (`+cpu`, `+cu130`)."""
    transformers_version: str
    """transformers."""
    quantiser_version: str | None = None
    """bitsandbytes or torchao, where the precision uses one."""
    joulegrid_version: str
    """This program, as the worker has it."""


class RawProcessResult(Record):
    """One process's figures of one run, exactly as measured."""

    cell_id: str
    """Hash of the cell's settings."""
    repeat: NonNegativeInt
    """0-based repeat of the cell."""
    rank: NonNegativeInt = 0
    """0-based process of the run."""
    pid: NonNegativeInt
    """Process id on its host."""
    prior_runs: NonNegativeInt
    """Runs that this process had done before this one."""
    model_reused: bool
    """Whether the model was still loaded from an earlier run of this process."""
    load_s: NonNegativeFloat
    """Time that loading the model took, in whichever run loaded it. Unit: s."""
    window_start_unix_s: NonNegativeFloat
    """The window's beginning on the host's wall clock. Unit: s since 1970."""
    window_end_unix_s: NonNegativeFloat
    """The window's end on the host's wall clock. Unit: s since 1970."""
    window_opened_after_barrier_s: NonNegativeFloat | None = None
    """From the barrier of the run's ranks until this window opened, monotonic; null without other ranks. Unit: s."""
    measured_batch_size: NonNegativeInt
    """This rank's share of the batch."""
    attention_used: str | None = None
    """The attention that the model really runs; null where the architecture has none to choose."""
    warmup: WarmupDone
    inference_metrics: InferenceMetrics
    energy_metrics: EnergyMetrics
    compute_metrics: ComputeMetrics
    precision_metadata: PrecisionMetadata
    quality: QualityMetrics = QualityMetrics()
    environment: Environment

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        """Refuse what no measurement comes to: it would be divided by, or overflow a column."""
        tokens = self.inference_metrics
        if not (tokens.generations and tokens.requests and self.measured_batch_size):
            raise ValueError("nothing was generated in the window")
        if tokens.generated_tokens < tokens.requests:
            raise ValueError(f"{tokens.requests} sequences of {tokens.generated_tokens} tokens together")
        if not _SHORTEST_S <= tokens.window_s <= _LONGEST_S or (self.window_opened_after_barrier_s or 0.0) > _LONGEST_S:
            raise ValueError(f"no window lasts {tokens.window_s:g} s")
        if not self.window_start_unix_s < self.window_end_unix_s <= _LATEST_UNIX_S:
            raise ValueError("the window does not end after it begins, or in another age")
        for value in _numbers(self):
            if value and not _SMALLEST <= abs(value) <= (_MOST if isinstance(value, int) else LARGEST):
                raise ValueError(f"{value:g} is no measurement's")
        return self

    @property
    def combined(self) -> CombinedMetrics:
        """The three kinds of figures as one record."""
        return CombinedMetrics(
            inference=self.inference_metrics, energy=self.energy_metrics, compute=self.compute_metrics
        )


class ProcessFailure(Record):
    """How a run ended without figures. A failure travels as a value: Ray cannot carry every exception."""

    cell_id: str
    """Hash of the cell's settings."""
    repeat: NonNegativeInt
    """0-based repeat of the cell."""
    rank: Ordinal | None = None
    """The process that failed; null where it was the whole run."""
    status: Literal["failed", "oom", "timeout", "lost", "skipped"]
    """What kind of end."""
    error_type: Message
    """The exception's class, or the name of what happened."""
    error_message: Message
    """What it said, in one printable line; its middle is left out where it is longer than 4,000 characters."""
    traceback: Traceback | None = None
    """Where it was raised, printable; its middle is left out where it is longer than 64,000 characters."""
    log: str | None = None
    """Log of the run, relative to the results' folder; null where there is none."""
    host: str | None = None
    """Where it happened."""
    attempt: Ordinal = 1
    """Which try this was, 1-based; 0 where nothing was tried."""


class Outcome(Record):
    """How one run ended: a result per rank, or one failure; with the tries that went before."""

    run: Run
    results: tuple[RawProcessResult, ...] = ()
    """One per rank, in rank order; empty where the run failed."""
    failure: ProcessFailure | None = None
    """Why it failed; null where it did not."""
    earlier_failures: tuple[ProcessFailure, ...] = ()
    """Failures of earlier tries of the same run."""
    printed: str = Field("", exclude=True)
    """What its processes printed, for the run's log; not kept in the journal."""

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        """Refuse another run's parts, and a run that lacks a rank."""
        failures = (*self.earlier_failures, *([self.failure] if self.failure else []))
        keys = {f"{result.cell_id}.{result.repeat}" for result in self.results}
        keys |= {f"{failure.cell_id}.{failure.repeat}" for failure in failures}
        if keys - {self.run.key}:
            raise ValueError(f"holds what belongs to another run than {self.run.key}")
        ranks, all_ranks = [result.rank for result in self.results], range(self.run.cell.world_size)
        if self.failure is None and ranks != [*all_ranks]:
            raise ValueError(f"no failure, and not a result of each of {len(all_ranks)} ranks, but of {ranks}")
        if ranks != sorted(set(ranks) & set(all_ranks)):
            raise ValueError(f"has results of the ranks {ranks}, where there are {len(all_ranks)}")
        if any(result.measured_batch_size > self.run.cell.batch_size for result in self.results):
            raise ValueError(f"a rank had more than the whole batch of {self.run.cell.batch_size}")
        return self

    @property
    def status(self) -> str:
        """`ok`, or the failure's."""
        return self.failure.status if self.failure else "ok"


def _numbers(value: Any) -> Iterator[float]:
    """Every number in a record and in what it holds; of a tuple of numbers the smallest and the largest."""
    if isinstance(value, Record):
        for name in type(value).model_fields:
            yield from _numbers(getattr(value, name))
    elif isinstance(value, dict):
        for one in value.values():
            yield from _numbers(one)
    elif isinstance(value, tuple):
        if value and isinstance(value[0], float):
            yield from (min(value), max(value))
        else:
            for one in value:
                yield from _numbers(one)
    elif isinstance(value, int | float):
        yield value
