"""Peak FLOP/s and memory bandwidth of cards, each with the datasheet it is from, and the utilisation of them.

All figures are dense (datasheets of Ampere and later print the sparse ones, twice as high, unless they say otherwise)
and at the boost clock. fp32 is the CUDA cores' figure; tf32, fp16, bf16, fp8 and int8 are the tensor cores' with 32-bit
accumulation. A card that is not here has no peak: one guessed would make a naked number.
"""

from collections.abc import Callable

from pydantic import NonNegativeFloat

from workers.records import Dtype, Record


class Peak(Record):
    """What a card can do at most. Units: FLOP/s (OP/s for int8) and byte/s."""

    flops: dict[Dtype, NonNegativeFloat]
    """Dense FLOP/s by the type that products are computed in; a type that is missing is not in the datasheet."""
    bandwidth: NonNegativeFloat
    """Memory bandwidth. Unit: byte/s."""
    source: str
    """The document that the figures are from."""


class Utilisation(Record):
    """A utilisation, or why there is none."""

    value: NonNegativeFloat | None
    """Unit: 1."""
    source: str
    """The document that the peak is from; where `value` is null, why."""


def _tera(source: str, bandwidth_gb: float, **tera: float) -> Peak:
    """A card from its datasheet's own units: TFLOP/s and GB/s. `half` is bf16 and fp16 alike."""
    half = tera.pop("half", None)
    if half is not None:
        tera |= {"bf16": half, "fp16": half}
    return Peak.model_validate(
        {
            "flops": {kind: value * 1e12 for kind, value in tera.items()},
            "bandwidth": bandwidth_gb * 1e9,
            "source": source,
        }
    )


_A100 = {"fp32": 19.5, "tf32": 156, "half": 312, "int8": 624}
_H100_SXM = {"fp32": 67, "tf32": 494.5, "half": 989.5, "fp8": 1979, "int8": 1979}
_H100_NVL = {"fp32": 60, "tf32": 417.5, "half": 835.5, "fp8": 1670.5, "int8": 1670.5}
_A100_SHEET = "NVIDIA A100 Tensor Core GPU datasheet"
_H100_SHEET = "NVIDIA H100 Tensor Core GPU datasheet (half of the sparse figures)"
_H200_SHEET = "NVIDIA H200 Tensor Core GPU datasheet (half of the sparse figures)"
_V100_SHEET = "NVIDIA V100 Tensor Core GPU datasheet"
_GA102 = "NVIDIA Ampere GA102 GPU Architecture whitepaper"
_ADA = "NVIDIA Ada GPU Architecture whitepaper"

PEAKS: dict[str, Peak] = {
    "Tesla V100-SXM2-16GB": _tera(_V100_SHEET, 900, fp32=15.7, fp16=125),
    "Tesla V100-SXM2-32GB": _tera(_V100_SHEET, 900, fp32=15.7, fp16=125),
    "Tesla V100-PCIE-16GB": _tera(_V100_SHEET, 900, fp32=14, fp16=112),
    "Tesla V100-PCIE-32GB": _tera(_V100_SHEET, 900, fp32=14, fp16=112),
    "Tesla T4": _tera("NVIDIA Turing GPU Architecture whitepaper", 320, fp32=8.1, fp16=65, int8=130),
    "NVIDIA A10": _tera("NVIDIA A10 Tensor Core GPU datasheet", 600, fp32=31.2, tf32=62.5, half=125, int8=250),
    "NVIDIA A30": _tera("NVIDIA A30 Tensor Core GPU datasheet", 933, fp32=10.3, tf32=82, half=165, int8=330),
    "NVIDIA A40": _tera("NVIDIA A40 datasheet", 696, fp32=37.4, tf32=74.8, half=149.7, int8=299.3),
    "NVIDIA A100-SXM4-40GB": _tera(_A100_SHEET, 1555, **_A100),
    "NVIDIA A100-SXM4-80GB": _tera(_A100_SHEET, 2039, **_A100),
    "NVIDIA A100-PCIE-40GB": _tera(_A100_SHEET, 1555, **_A100),
    "NVIDIA A100 80GB PCIe": _tera(_A100_SHEET, 1935, **_A100),
    "NVIDIA L4": _tera(
        "NVIDIA L4 Tensor Core GPU datasheet (half of the sparse figures)",
        300, fp32=30.3, tf32=60, half=121, fp8=242.5, int8=242.5,
    ),
    "NVIDIA L40S": _tera("NVIDIA L40S datasheet", 864, fp32=91.6, tf32=183, half=362.05, fp8=733, int8=733),
    "NVIDIA H100 80GB HBM3": _tera(_H100_SHEET, 3350, **_H100_SXM),
    "NVIDIA H100 NVL": _tera(_H100_SHEET, 3900, **_H100_NVL),
    "NVIDIA H100 PCIe": _tera(
        "NVIDIA H100 PCIe 80 GB product datasheet (half of the sparse figures)",
        2000, fp32=51, tf32=378, half=756.5, fp8=1513, int8=1513,
    ),
    "NVIDIA H200": _tera(_H200_SHEET, 4800, **_H100_SXM),
    "NVIDIA H200 NVL": _tera(_H200_SHEET, 4800, **_H100_NVL),
    "NVIDIA RTX A6000": _tera(_GA102, 768, fp32=38.7, tf32=77.4, half=154.8, int8=309.7),
    "NVIDIA GeForce RTX 3090": _tera(_GA102, 936, fp32=35.6, tf32=35.6, half=71, int8=284),
    "NVIDIA GeForce RTX 4090": _tera(_ADA, 1008, fp32=82.6, tf32=82.6, half=165.2, fp8=330.3, int8=660.6),
}  # fmt: skip
"""By the name that NVML gives the card, which tells SXM, PCIe and NVL apart. Early drivers named the A100 without
"NVIDIA"; `peak` knows."""


def peak(card: str) -> Peak | None:
    """The peak of a card by its NVML name, or None where there is no sourced figure."""
    return PEAKS.get(card) or PEAKS.get(f"NVIDIA {card}")


def mfu(*, flops_per_second: float | None, compute: Dtype, cards: tuple[str, ...]) -> Utilisation:
    """Model FLOPs utilisation (Chowdhery et al. 2022, appendix B): FLOP/s over the cards' peak at the compute type.

    Args:
        flops_per_second: of all `cards` together; None where there are no FLOPs.
        compute: the type that the products are computed in.
        cards: NVML name of each card that computed.
    """
    if flops_per_second is None:
        return Utilisation(value=None, source="no FLOPs")
    return _over(flops_per_second, cards, lambda found: found.flops.get(compute), f"for products in {compute}")


def mbu(*, read_bytes_per_pass: float | None, seconds_per_pass: float | None, cards: tuple[str, ...]) -> Utilisation:
    """Model bandwidth utilisation of decoding (Databricks, "LLM Inference Performance Engineering", 2023).

    Args:
        read_bytes_per_pass: weights and cache that a decode pass must read: `decode_weight_read_mb` and
            `decode_cache_read_mb` of an `InferenceCost`, together, in bytes.
        seconds_per_pass: mean time of a decode pass (mean ITL).
        cards: NVML name of each card that computed.
    """
    if read_bytes_per_pass is None:
        return Utilisation(value=None, source="what a decode pass reads is not known")
    if not seconds_per_pass:
        return Utilisation(value=None, source="no decode passes")
    return _over(read_bytes_per_pass / seconds_per_pass, cards, lambda found: found.bandwidth, "of bandwidth")


def _over(rate: float, cards: tuple[str, ...], figure: Callable[[Peak], float | None], what: str) -> Utilisation:
    if not cards:
        return Utilisation(value=None, source="no GPU was used")
    total, sources = 0.0, []
    for card in cards:
        found = peak(card)
        value = figure(found) if found else None
        if found is None or not value:
            return Utilisation(value=None, source=f"no sourced peak {what} of a card named {card!r}")
        total += value
        sources.append(found.source)
    return Utilisation(value=rate / total, source="; ".join(dict.fromkeys(sources)))
