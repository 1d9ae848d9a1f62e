"""Precisions: what each one means, and which types a loaded model actually has."""

from typing import Literal, NamedTuple, get_args

from pydantic import NonNegativeFloat

from workers.records.base import Record

Precision = Literal["fp32", "tf32", "fp16", "bf16", "int8-bnb", "int4-bnb", "int8-torchao", "fp8-torchao"]
"""The values of the `precisions` axis. `int4-bnb` is NF4; the torchao ones are weight-only."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Dtype = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4", "mixed"]
"""The type of a tensor's elements, or of a product's operands."""


class DtypeSpec(NamedTuple):
    """Size and speed of a type."""

    size_bytes: float | None
    """Bytes per element; null for `mixed`. Unit: bytes."""
    factor: float
    """Scale from theoretical to effective FLOPs of products that are computed in this type. Unit: 1."""


DTYPES: dict[Dtype, DtypeSpec] = {
    "fp32": DtypeSpec(4, 1.0),
    "tf32": DtypeSpec(4, 1.0),
    "fp16": DtypeSpec(2, 1.0),
    "bf16": DtypeSpec(2, 1.0),
    "fp8": DtypeSpec(1, 0.5),
    "int8": DtypeSpec(1, 0.5),
    "int4": DtypeSpec(0.5, 0.25),
    "mixed": DtypeSpec(None, 0.75),
}
"""Every type."""


class PrecisionSpec(NamedTuple):
    """What one value of the `precisions` axis means."""

    compute: Dtype
    """Compute type of the matrix products; weight-only precisions dequantise to the model's own type."""
    weight_bytes: float
    """Bytes per weight of a linear layer, with its share of the scales. Unit: bytes."""
    quantiser: str | None = None
    """The package that quantises, by its distribution and import name; null if nothing is quantised."""
    least_capability: tuple[int, int] = (0, 0)
    """Lowest CUDA compute capability (major, minor) that supports it."""
    because: str = ""
    """Why it needs that capability."""


PRECISION_SPECS: dict[Precision, PrecisionSpec] = {
    "fp32": PrecisionSpec("fp32", 4),
    "tf32": PrecisionSpec("tf32", 4, None, (8, 0), "TF32 products began with Ampere"),
    "fp16": PrecisionSpec("fp16", 2),
    "bf16": PrecisionSpec(
        "bf16", 2, None, (8, 0), "older cards emulate bf16, and the figures would be the emulation's"
    ),
    "int8-bnb": PrecisionSpec("bf16", 1, "bitsandbytes", (7, 5), "LLM.int8() needs Turing's int8 tensor cores"),
    # NF4 stores a 32-bit scale per 64 weights; the others store one per row, which is negligible.
    "int4-bnb": PrecisionSpec("bf16", 0.5 + 4 / 64, "bitsandbytes", (6, 0), "bitsandbytes' NF4 kernels begin there"),
    "int8-torchao": PrecisionSpec("bf16", 1, "torchao"),
    "fp8-torchao": PrecisionSpec("bf16", 1, "torchao", (8, 9), "fp8 began with Ada and Hopper"),
}
"""Every precision. Capabilities: CUDA programming guide, bitsandbytes' installation guide."""


class PrecisionMetadata(Record):
    """The types in the loaded model, which may differ from the requested ones."""

    weights: Dtype
    """Type of the stored weights of the linear layers."""
    activations: Dtype
    """Type of the activations between layers."""
    compute: Dtype
    """Compute type of the matrix products."""
    mixed_precision_breakdown: dict[str, float] | None = None
    """For mixed models, the share of the parameters by layer and type (`Linear4bit:int4`: 0.9); null otherwise."""
    quantization_method: str | None = None
    """The library and scheme that quantised the weights; null if they are not quantised."""
    perplexity_degradation: float | None = None
    """Perplexity relative to the same model's in the sweep's reference precision, minus 1; null if unknown. Unit: 1."""

    @property
    def precision_factor(self) -> float:
        """Scale from theoretical to effective FLOPs, by the compute type."""
        return DTYPES[self.compute].factor


class NormalisedMetrics(Record):
    """Efficiency adjusted for precision, so that cells of different types can be compared."""

    precision_factor: NonNegativeFloat
    """Scale to effective FLOPs by compute type: 1 for 32 and 16 bits, 0.5 for 8, 0.25 for 4, 0.75 mixed. Unit: 1."""
    effective_flops: NonNegativeFloat | None = None
    """FLOPs of one inference x `precision_factor`. Unit: FLOP."""
    tokens_per_joule: NonNegativeFloat | None = None
    """Generated tokens over GPU energy. Unit: tokens/J."""
    tokens_per_effective_pflop: NonNegativeFloat | None = None
    """Output tokens of one inference over its effective PFLOPs. Unit: tokens/PFLOP."""
    tokens_per_second_per_watt: NonNegativeFloat | None = None
    """Output tokens/s over mean GPU power; equals tokens/J measured over one window. Unit: tokens/s/W."""

    @classmethod
    def from_metrics(
        cls,
        *,
        precision: PrecisionMetadata,
        flops: float | None,
        output_tokens: float,
        tokens_per_second: float | None,
        joules_per_token: float | None,
        mean_power_w: float | None,
    ) -> "NormalisedMetrics":
        """Derive every figure that its inputs allow; the others stay null.

        `flops` and `output_tokens` are of one inference.
        """
        effective = None if flops is None else flops * precision.precision_factor
        return cls(
            precision_factor=precision.precision_factor,
            effective_flops=effective,
            tokens_per_joule=1 / joules_per_token if joules_per_token else None,
            tokens_per_effective_pflop=output_tokens / (effective / 1e15) if effective else None,
            tokens_per_second_per_watt=tokens_per_second / mean_power_w if tokens_per_second and mean_power_w else None,
        )
