"""FLOPs with their provenance, and what a process computed and held in memory."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from workers.records._base import Confidence, Record
from workers.records.cell import Precision

FlopsMethod = Literal["calflops", "architecture", "parameter_estimate"]
MemoryMethod = Literal["cuda_allocator", "process_rss"]


class Shape(Record):
    """What of a cell its FLOPs depend on, beside the model."""

    batch_size: PositiveInt
    """Sequences of one inference."""
    input_tokens: PositiveInt
    """Prompt tokens per sequence. Unit: tokens."""
    output_tokens: PositiveInt
    """New tokens per sequence. Unit: tokens."""
    precision: Precision = "bf16"
    """Kind that the weights are kept in; the products' type follows from it."""


class FlopsResult(Record):
    """The canonical FLOPs figure of one inference: a whole batch, prefill and every cached decode pass.

    One multiply-add is 2 FLOPs; matrix products only, as eager attention executes them (`docs/flops.md`).

    For BitsAndBytes quantization, FLOPs = FP16 FLOPs because computation happens at FP16 after dequantization. The same
    holds for every weight-only kind: `precision` names the type that is computed in, not the one weights are kept in.
    """

    value: NonNegativeFloat
    """FLOPs of one generation of the whole batch. Unit: FLOP."""
    method: FlopsMethod
    """How `value` was obtained: the calflops library, a closed form of the architecture, or 2 x parameters x tokens."""
    confidence: Confidence
    """`high`: within 1 % of what the dispatcher counts on a real run; `medium`: within 5 %; `low`: no promise."""
    precision: str
    """The type that the matrix products are computed in."""
    notes: str | None = None
    """What was compared with what, and by how much they differ."""

    @property
    def is_valid(self) -> bool:
        """Whether there is a figure at all."""
        return self.value > 0


class FlopsEstimates(Record):
    """Each estimator's own figure for one inference, whichever the verdict took; null where one failed, with why."""

    calflops: NonNegativeFloat | None = None
    """2 x the MACs that calflops counts on an eager meta-device twin of the model. Unit: FLOP."""
    architecture: NonNegativeFloat | None = None
    """The closed form from the model's config. Unit: FLOP."""
    parameter_estimate: NonNegativeFloat | None = None
    """2 x active parameters x tokens. Unit: FLOP."""
    dispatcher: NonNegativeFloat | None = None
    """What torch's FlopCounterMode counts on the meta-device twin. Unit: FLOP."""
    failures: dict[str, str] = Field(default={})
    """Why an estimator has no figure, by its name."""


class InferenceCost(Record):
    """What one inference costs on paper: FLOPs by every estimator, parameters, and the memory of weights and cache."""

    flops: FlopsResult
    estimates: FlopsEstimates
    parameters: NonNegativeInt
    """Parameters, unpacked where weights are quantised; tied ones count once."""
    active_parameters: NonNegativeInt
    """Parameters that one token passes through: all of them but for the experts that are not chosen."""
    weight_memory_mb: NonNegativeFloat
    """Memory of the weights at the given precision. Unit: MB (10^6 bytes)."""
    kv_cache_mb: NonNegativeFloat | None = None
    """Memory of the KV cache (or recurrent state) at the inference's end. Unit: MB (10^6 bytes)."""
    kv_cache_reason: str | None = None
    """Why there is no `kv_cache_mb`."""
    decode_weight_read_mb: NonNegativeFloat | None = None
    """Weights that one decode pass must read: its products', of experts one token's. Unit: MB (10^6 bytes)."""
    decode_cache_read_mb: NonNegativeFloat | None = None
    """KV cache (or recurrent state) that one decode pass must read, mean over the passes. Unit: MB (10^6 bytes)."""
    cannot_run: str | None = None
    """Why no run of this can succeed; null where nothing is known against it."""


class ComputeMetrics(Record):
    """What a process computed and how much memory it took."""

    flops: FlopsResult | None = None
    """FLOPs of one inference; null with `flops_reason` where not even the parameters could be counted."""
    flops_reason: str | None = None
    """Why there are no FLOPs."""
    estimates: FlopsEstimates = FlopsEstimates()
    """Every estimator's figure, kept beside the verdict."""
    parameters: NonNegativeInt | None = None
    """Parameters, unpacked where weights are quantised; tied ones count once."""
    active_parameters: NonNegativeInt | None = None
    """Parameters that one token passes through."""
    flops_per_token: NonNegativeFloat | None = None
    """`flops_value` over the output tokens of one inference. Unit: FLOP/token."""
    flops_per_second: NonNegativeFloat | None = None
    """`flops_value` x `generations` over `window_s` of a run. Unit: FLOP/s."""
    mfu: NonNegativeFloat | None = None
    """Model FLOPs utilisation: `flops_per_second` over the peak of the cards used, at the compute type. Unit: 1."""
    mbu: NonNegativeFloat | None = None
    """Model bandwidth utilisation of decoding: bytes of weights and cache a pass must read, over peak. Unit: 1."""
    peak_source: str | None = None
    """Where the card's peak FLOP/s and bandwidth are from, or why there is no MFU and MBU."""
    peak_memory_mb: NonNegativeFloat | None = None
    """Most memory held during the window. Unit: MB (10^6 bytes)."""
    peak_memory_reason: str | None = None
    """Why there is no `peak_memory_mb`."""
    model_memory_mb: NonNegativeFloat | None = None
    """Memory of the loaded parameters and buffers. Unit: MB (10^6 bytes)."""
    memory_method: MemoryMethod | None = None
    """Who says `peak_memory_mb`: CUDA's caching allocator, or the process's resident set on a CPU."""
