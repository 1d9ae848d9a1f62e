"""Peak FLOP/s, bandwidth and memory of each card, with the datasheet they come from.

All peaks are dense and at the boost clock. Datasheets of Ampere and later cards print sparse peaks, twice as high,
unless they say otherwise. fp32 is the peak of the CUDA cores; tf32, fp16, bf16, fp8 and int8 are peaks of the tensor
cores with 32-bit accumulation. A card that is not in this table has no peak: a guess would have no source.
"""

from dataclasses import dataclass, field

from workers.records import Dtype


@dataclass(frozen=True, kw_only=True)
class Card:
    """A type of card."""

    compute_capability: tuple[int, int]
    """CUDA's (major, minor), from NVIDIA's "CUDA GPUs"."""
    memory_mb: float
    """Memory in the datasheet. Unit: MB (10^6 bytes)."""
    peak_flops: dict[Dtype, float] = field(default_factory=dict)
    """Dense FLOP/s (OP/s for int8) by compute type; the datasheet has no figure for a type that is missing."""
    bandwidth: float | None = None
    """Memory bandwidth; null if there is no sourced figure. Unit: byte/s."""
    source: str = ""
    """The document with the peaks."""


def _card(capability: tuple[int, int], memory_gb: float, source: str, bandwidth_gb_per_s: float, **tera: float) -> Card:
    """A card in the units of its datasheet: GB, GB/s and TFLOP/s. `half` sets both bf16 and fp16."""
    half = tera.pop("half", None)
    if half is not None:
        tera |= {"bf16": half, "fp16": half}
    return Card(
        compute_capability=capability,
        memory_mb=memory_gb * 1e3,
        peak_flops={dtype: value * 1e12 for dtype, value in tera.items()},  # type: ignore[misc] # keywords are text
        bandwidth=bandwidth_gb_per_s * 1e9,
        source=source,
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

CARDS: dict[str, Card] = {
    "Tesla V100-SXM2-16GB": _card((7, 0), 16, _V100_SHEET, 900, fp32=15.7, fp16=125),
    "Tesla V100-SXM2-32GB": _card((7, 0), 32, _V100_SHEET, 900, fp32=15.7, fp16=125),
    "Tesla V100-PCIE-16GB": _card((7, 0), 16, _V100_SHEET, 900, fp32=14, fp16=112),
    "Tesla V100-PCIE-32GB": _card((7, 0), 32, _V100_SHEET, 900, fp32=14, fp16=112),
    "Tesla T4": _card((7, 5), 16, "NVIDIA Turing GPU Architecture whitepaper", 320, fp32=8.1, fp16=65, int8=130),
    "NVIDIA A10": _card(
        (8, 6), 24, "NVIDIA A10 Tensor Core GPU datasheet", 600, fp32=31.2, tf32=62.5, half=125, int8=250
    ),
    "NVIDIA A30": _card(
        (8, 0), 24, "NVIDIA A30 Tensor Core GPU datasheet", 933, fp32=10.3, tf32=82, half=165, int8=330
    ),
    "NVIDIA A40": _card((8, 6), 48, "NVIDIA A40 datasheet", 696, fp32=37.4, tf32=74.8, half=149.7, int8=299.3),
    "NVIDIA A100-SXM4-40GB": _card((8, 0), 40, _A100_SHEET, 1555, **_A100),
    "NVIDIA A100-SXM4-80GB": _card((8, 0), 80, _A100_SHEET, 2039, **_A100),
    "NVIDIA A100-PCIE-40GB": _card((8, 0), 40, _A100_SHEET, 1555, **_A100),
    "NVIDIA A100 80GB PCIe": _card((8, 0), 80, _A100_SHEET, 1935, **_A100),
    "NVIDIA L4": _card(
        (8, 9), 24, "NVIDIA L4 Tensor Core GPU datasheet (half of the sparse figures)",
        300, fp32=30.3, tf32=60, half=121, fp8=242.5, int8=242.5,
    ),
    "NVIDIA L40S": _card((8, 9), 48, "NVIDIA L40S datasheet", 864, fp32=91.6, tf32=183, half=362.05, fp8=733, int8=733),
    "NVIDIA H100 80GB HBM3": _card((9, 0), 80, _H100_SHEET, 3350, **_H100_SXM),
    "NVIDIA H100 NVL": _card((9, 0), 94, _H100_SHEET, 3900, **_H100_NVL),
    "NVIDIA H100 PCIe": _card(
        (9, 0), 80, "NVIDIA H100 PCIe 80 GB product datasheet (half of the sparse figures)",
        2000, fp32=51, tf32=378, half=756.5, fp8=1513, int8=1513,
    ),
    "NVIDIA H200": _card((9, 0), 141, _H200_SHEET, 4800, **_H100_SXM),
    "NVIDIA H200 NVL": _card((9, 0), 141, _H200_SHEET, 4800, **_H100_NVL),
    "NVIDIA RTX A6000": _card((8, 6), 48, _GA102, 768, fp32=38.7, tf32=77.4, half=154.8, int8=309.7),
    "NVIDIA GeForce RTX 3090": _card((8, 6), 24, _GA102, 936, fp32=35.6, tf32=35.6, half=71, int8=284),
    "NVIDIA GeForce RTX 4090": _card((8, 9), 24, _ADA, 1008, fp32=82.6, tf32=82.6, half=165.2, fp8=330.3, int8=660.6),
    "NVIDIA A10G": Card(compute_capability=(8, 6), memory_mb=24e3),
    "NVIDIA B200": Card(compute_capability=(10, 0), memory_mb=180e3),
}  # fmt: skip
"""By NVML name, which distinguishes SXM, PCIe and NVL. Early drivers omit "NVIDIA" in the A100's name; `named` handles
that."""

RAY_CARDS: dict[str, str] = {
    "V100": "Tesla V100-SXM2-16GB",
    "T4": "Tesla T4",
    "A10G": "NVIDIA A10G",
    "A100": "NVIDIA A100-SXM4-40GB",
    "A100-40G": "NVIDIA A100-SXM4-40GB",
    "A100-80G": "NVIDIA A100-SXM4-80GB",
    "L4": "NVIDIA L4",
    "L40S": "NVIDIA L40S",
    "H100": "NVIDIA H100 80GB HBM3",
    "H200": "NVIDIA H200",
    "B200": "NVIDIA B200",
}
"""Ray's accelerator type (`ray.util.accelerators`) -> the card with the least memory of that type."""


def named(card: str) -> Card | None:
    """The card with this NVML name; null if it is not in `CARDS`."""
    return CARDS.get(card) or CARDS.get(f"NVIDIA {card}")
