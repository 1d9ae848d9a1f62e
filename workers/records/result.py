"""What a process sends back: its figures, or how it failed."""

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from workers.records._base import Record
from workers.records.cell import Run
from workers.records.energy import EnergyMetrics
from workers.records.flops import ComputeMetrics
from workers.records.inference import InferenceMetrics, WarmupDone
from workers.records.precision import PrecisionMetadata


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
    rank: NonNegativeInt | None = None
    """The process that failed; null where it was the whole run."""
    status: Literal["failed", "oom", "timeout", "lost", "skipped"]
    """What kind of end."""
    error_type: str
    """The exception's class, or the name of what happened."""
    error_message: str
    """What it said, in one line where possible."""
    traceback: str | None = None
    """Where it was raised."""
    host: str | None = None
    """Where it happened."""
    attempt: NonNegativeInt = 1
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

    @property
    def status(self) -> str:
        """`ok`, or the failure's."""
        return self.failure.status if self.failure else "ok"
