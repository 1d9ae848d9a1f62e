"""FLOPs with their provenance, and a process's computation and memory."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from workers.records.base import Confidence, Record
from workers.records.precision import Precision

FlopsMethod = Literal["calflops", "architecture", "parameter_estimate"]
MemoryMethod = Literal["cuda_allocator", "process_rss"]


class Shape(Record):
    """The settings of a cell that its FLOPs depend on, besides the model."""

    batch_size: PositiveInt
    """Sequences of one inference."""
    input_tokens: PositiveInt
    """Prompt tokens per sequence. Unit: tokens."""
    output_tokens: PositiveInt
    """New tokens per sequence. Unit: tokens."""
    precision: Precision = "bf16"
    """Precision of the weights; it determines the type of the products."""


class FlopsResult(Record):
    """FLOPs of one inference: a whole batch, prefill and every cached decode pass.

    One multiply-add is 2 FLOPs; matrix products only, as eager attention executes them (`docs/flops.md`).

    For BitsAndBytes quantization, FLOPs = FP16 FLOPs because computation happens at FP16 after dequantization. The same
    holds for every weight-only precision: `precision` names the compute type, not the type of the stored weights.
    """

    value: NonNegativeFloat
    """FLOPs of one generation of the whole batch. Unit: FLOP."""
    method: FlopsMethod
    """How `value` was obtained: the calflops library, a closed form of the architecture, or 2 x parameters x tokens."""
    confidence: Confidence
    """`high`: within 1 % of the dispatcher's count on a real run; `medium`: within 5 %; `low`: no guarantee."""
    precision: str
    """Compute type of the matrix products."""
    notes: str | None = None
    """Which estimates were compared, and by how much they differ."""

    @property
    def is_valid(self) -> bool:
        """Whether there is a figure."""
        return self.value > 0


class FlopsEstimates(Record):
    """Each estimator's own figure for one inference; null if it failed, with the reason in `failures`."""

    calflops: NonNegativeFloat | None = None
    """2 x the MACs that calflops counts on an eager meta model. Unit: FLOP."""
    architecture: NonNegativeFloat | None = None
    """The closed form from the model's config. Unit: FLOP."""
    parameter_estimate: NonNegativeFloat | None = None
    """2 x active parameters x tokens. Unit: FLOP."""
    dispatcher: NonNegativeFloat | None = None
    """FLOPs that torch's FlopCounterMode counts on the meta model. Unit: FLOP."""
    failures: dict[str, str] = Field(default={})
    """Why an estimator has no figure, by the estimator's name."""


class InferenceCost(Record):
    """Estimated cost of one inference: FLOPs by every estimator, parameters, and the memory of weights and cache."""

    flops: FlopsResult
    estimates: FlopsEstimates
    parameters: NonNegativeInt
    """Number of parameters; quantised weights count unpacked, tied weights once."""
    active_parameters: NonNegativeInt
    """Parameters that one token uses: all of them except the experts that are not chosen."""
    weight_memory_mb: NonNegativeFloat
    """Memory of the weights at the given precision. Unit: MB (10^6 bytes)."""
    kv_cache_mb: NonNegativeFloat | None = None
    """Memory of the KV cache (or recurrent state) at the end of the inference. Unit: MB (10^6 bytes)."""
    kv_cache_reason: str | None = None
    """Why `kv_cache_mb` is missing."""
    decode_weight_read_mb: NonNegativeFloat | None = None
    """Weights that one decode pass must read; of the experts, those of one token. Unit: MB (10^6 bytes)."""
    decode_cache_read_mb: NonNegativeFloat | None = None
    """KV cache (or recurrent state) that one decode pass must read, mean over the passes. Unit: MB (10^6 bytes)."""
    cannot_run: str | None = None
    """Why no such run can succeed; null if no reason is known."""


class ComputeMetrics(Record):
    """A process's computation and memory."""

    flops: FlopsResult | None = None
    """FLOPs of one inference; null with `flops_reason` if not even the parameters could be counted."""
    flops_reason: str | None = None
    """Why the FLOPs are missing."""
    estimates: FlopsEstimates = FlopsEstimates()
    """Every estimator's figure."""
    parameters: NonNegativeInt | None = None
    """Number of parameters; quantised weights count unpacked, tied weights once."""
    active_parameters: NonNegativeInt | None = None
    """Parameters that one token uses."""
    flops_per_token: NonNegativeFloat | None = None
    """`flops_value` over the output tokens of one inference. Unit: FLOP/token."""
    flops_per_second: NonNegativeFloat | None = None
    """`flops_value` x `generations` over `window_s` of a run. Unit: FLOP/s."""
    mfu: NonNegativeFloat | None = None
    """Model FLOPs utilisation: `flops_per_second` over the peak of the GPUs used, in the compute type. Unit: 1."""
    mbu: NonNegativeFloat | None = None
    """Model bandwidth utilisation of decoding: required reads of weights and cache, over peak bandwidth. Unit: 1."""
    peak_source: str | None = None
    """Source of the GPU's peak FLOP/s and bandwidth, or why MFU and MBU are missing."""
    peak_memory_mb: NonNegativeFloat | None = None
    """Peak memory during the window. Unit: MB (10^6 bytes)."""
    peak_memory_reason: str | None = None
    """Why `peak_memory_mb` is missing."""
    model_memory_mb: NonNegativeFloat | None = None
    """Memory of the loaded parameters and buffers. Unit: MB (10^6 bytes)."""
    memory_method: MemoryMethod | None = None
    """Source of `peak_memory_mb`: CUDA's caching allocator, or the process's resident set on a CPU."""
