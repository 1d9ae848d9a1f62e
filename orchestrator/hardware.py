"""What hardware and its libraries cannot do: the reasons of rows that are skipped. Pure."""

from dataclasses import dataclass
from typing import Literal

from workers.records import Cell, Precision


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a cell would run on."""

    device: Literal["cuda", "cpu"]
    """Whether there are GPUs."""
    card: str | None = None
    """The card's name, for messages."""
    compute_capability: tuple[int, int] | None = None
    """CUDA's (major, minor); null where unknown or without a GPU. What depends on it is then tried."""
    packages: frozenset[str] = frozenset()
    """Import names of the optional packages that the workers have: `bitsandbytes`, `torchao`, `flash_attn`..."""


_CAPABILITY: dict[Precision, tuple[tuple[int, int], str]] = {
    "tf32": ((8, 0), "TF32 products began with Ampere"),
    "bf16": ((8, 0), "older cards emulate bf16, and the figures would be the emulation's"),
    "int8-bnb": ((7, 5), "LLM.int8() needs Turing's int8 tensor cores"),
    "int4-bnb": ((6, 0), "bitsandbytes' NF4 kernels begin there"),
    "fp8-torchao": ((8, 9), "fp8 began with Ada and Hopper"),
}
"""Least compute capability, and why (CUDA programming guide, bitsandbytes' installation guide)."""

_PACKAGES: dict[str, tuple[str, str]] = {
    "int8-bnb": ("bitsandbytes", "pip install joulegrid[quantised]"),
    "int4-bnb": ("bitsandbytes", "pip install joulegrid[quantised]"),
    "int8-torchao": ("torchao", "pip install joulegrid[quantised]"),
    "fp8-torchao": ("torchao", "pip install joulegrid[quantised]"),
    "flash_attention_2": ("flash_attn", "pip install flash-attn"),
    "flash_attention_3": ("flash_attn_interface", "build it from flash-attention's hopper folder"),
}
"""Precision or attention -> the package it needs, and how to get it."""

_FLASH: dict[str, tuple[int, int]] = {"flash_attention_2": (8, 0), "flash_attention_3": (9, 0)}
"""Least compute capability of the flash kernels (flash-attention's README)."""


def impossible(cell: Cell, hardware: Hardware) -> str | None:
    """Why this hardware or its libraries cannot run the cell at all; null where they may."""
    on_cuda = hardware.device == "cuda" and cell.device != "cpu"
    if cell.device == "cuda" and not on_cuda:
        return "device: cuda, but there is no GPU"
    if cell.precision == "tf32" and not on_cuda:
        return "tf32 is a mode of NVIDIA's tensor cores; a CPU has none"
    return _too_old(cell, hardware, on_cuda) or _flash_unfit(cell, on_cuda) or _not_installed(cell, hardware)


def _too_old(cell: Cell, hardware: Hardware, on_cuda: bool) -> str | None:
    have = hardware.compute_capability
    if not on_cuda or have is None:
        return None
    needs: list[tuple[str, tuple[int, int], str]] = []
    if cell.precision in _CAPABILITY:
        needs.append((cell.precision, *_CAPABILITY[cell.precision]))
    if cell.attention in _FLASH:
        needs.append((cell.attention, _FLASH[cell.attention], "its kernels are written for that"))
    card = hardware.card or "this card"
    return next(
        (f"{what} needs compute capability {least[0]}.{least[1]}, and {card} has {have[0]}.{have[1]}: {why}"
         for what, least, why in needs if have < least),
        None,
    )  # fmt: skip


def _flash_unfit(cell: Cell, on_cuda: bool) -> str | None:
    if cell.attention not in _FLASH:
        return None
    if not on_cuda:
        return f"{cell.attention} runs on CUDA only"
    if cell.precision in ("fp32", "tf32"):
        return f"{cell.attention} takes fp16 and bf16 only, not {cell.precision}"
    return None


def _not_installed(cell: Cell, hardware: Hardware) -> str | None:
    for kind in (cell.precision, cell.attention):
        package, mend = _PACKAGES.get(kind, ("", ""))
        if package and package not in hardware.packages:
            return f"{kind} needs {package}, which is not installed: {mend}"
    return None
