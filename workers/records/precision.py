"""Which types a model's weights, activations and products really have."""

from typing import Literal

from pydantic import NonNegativeFloat

from workers.records._base import Record

Dtype = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4", "mixed"]

_FACTORS: dict[Dtype, float] = {
    "fp32": 1.0,
    "tf32": 1.0,
    "fp16": 1.0,
    "bf16": 1.0,
    "fp8": 0.5,
    "int8": 0.5,
    "int4": 0.25,
    "mixed": 0.75,
}


class PrecisionMetadata(Record):
    """Types as found in the loaded model, not as asked for."""

    weights: Dtype
    """Type that the weights of the linear layers are kept in."""
    activations: Dtype
    """Type of the activations between layers."""
    compute: Dtype
    """Type that the matrix products are computed in."""
    mixed_precision_breakdown: dict[str, float] | None = None
    """For mixed models, the share of the parameters by layer type and type (`Linear4bit:int4`: 0.9); null otherwise."""
    quantization_method: str | None = None
    """The library and scheme; null where the weights are not quantised."""
    perplexity_degradation: float | None = None
    """Perplexity over the same model's in the sweep's reference precision, less 1; null without quality. Unit: 1."""

    @property
    def precision_factor(self) -> float:
        """Scale from theoretical to effective FLOPs, by the type that is computed in."""
        return _FACTORS[self.compute]


class NormalisedMetrics(Record):
    """Efficiency adjusted for precision, so that cells of different types can be laid side by side."""

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
