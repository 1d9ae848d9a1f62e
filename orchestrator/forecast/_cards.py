"""What a type of card can do and hold, from its datasheet."""

from typing import NamedTuple


class Card(NamedTuple):
    """A type of card."""

    compute_capability: tuple[int, int]
    memory_mb: float
    """Memory as the datasheet has it; the least where a name covers several. Unit: MB (10^6 bytes)."""
    nvml_name: str | None
    """Its name in the table of peaks; null where that has none."""


CARDS: dict[str, Card] = {
    "V100": Card((7, 0), 16_000, "Tesla V100-SXM2-16GB"),
    "T4": Card((7, 5), 16_000, "Tesla T4"),
    "A10G": Card((8, 6), 24_000, None),
    "A100": Card((8, 0), 40_000, "NVIDIA A100-SXM4-40GB"),
    "A100-40G": Card((8, 0), 40_000, "NVIDIA A100-SXM4-40GB"),
    "A100-80G": Card((8, 0), 80_000, "NVIDIA A100-SXM4-80GB"),
    "L4": Card((8, 9), 24_000, "NVIDIA L4"),
    "L40S": Card((8, 9), 48_000, "NVIDIA L40S"),
    "H100": Card((9, 0), 80_000, "NVIDIA H100 80GB HBM3"),
    "H200": Card((9, 0), 141_000, "NVIDIA H200"),
    "B200": Card((10, 0), 180_000, None),
}
"""By Ray's name of the type (`ray.util.accelerators`). Capabilities: NVIDIA's "CUDA GPUs"; memory: datasheets."""
