"""What hardware and its libraries do not support: the reasons of skipped rows. Pure."""

from workers.records import PRECISION_SPECS, Cell, Hardware

_ATTENTION_PACKAGES: dict[str, tuple[str, str]] = {
    "flash_attention_2": ("flash_attn", "pip install flash-attn"),
    "flash_attention_3": ("flash_attn_interface", "build it from the hopper folder of flash-attention"),
}
"""Attention -> the package it needs, and how to install it."""

_FLASH: dict[str, tuple[int, int]] = {"flash_attention_2": (8, 0), "flash_attention_3": (9, 0)}
"""Attention -> lowest compute capability. Source: flash-attention's README."""


def unsupported(cell: Cell, hardware: Hardware) -> str | None:
    """Why this hardware or its libraries cannot run the cell; null where they may."""
    on_cuda = hardware.device == "cuda" and cell.device != "cpu"
    if cell.device == "cuda" and not on_cuda:
        return "device: cuda, but there is no GPU"
    if cell.precision == "tf32" and not on_cuda:
        return "tf32 is a mode of NVIDIA's tensor cores; a CPU has none"
    return _too_old(cell, hardware, on_cuda) or _flash_unsupported(cell, on_cuda) or _not_installed(cell, hardware)


def _too_old(cell: Cell, hardware: Hardware, on_cuda: bool) -> str | None:
    have = hardware.compute_capability
    if not on_cuda or have is None:
        return None
    spec = PRECISION_SPECS[cell.precision]
    needs: list[tuple[str, tuple[int, int], str]] = [(cell.precision, spec.least_capability, spec.because)]
    if cell.attention in _FLASH:
        needs.append((cell.attention, _FLASH[cell.attention], "its kernels need it"))
    card = hardware.card or "this card"
    return next(
        (f"{what} needs compute capability {least[0]}.{least[1]}, and {card} has {have[0]}.{have[1]}: {why}"
         for what, least, why in needs if have < least),
        None,
    )  # fmt: skip


def _flash_unsupported(cell: Cell, on_cuda: bool) -> str | None:
    if cell.attention not in _FLASH:
        return None
    if not on_cuda:
        return f"{cell.attention} runs on CUDA only"
    if cell.precision in ("fp32", "tf32"):
        return f"{cell.attention} takes fp16 and bf16 only, not {cell.precision}"
    return None


def _not_installed(cell: Cell, hardware: Hardware) -> str | None:
    quantiser = PRECISION_SPECS[cell.precision].quantiser
    needs: list[tuple[str, str, str]] = (
        [(cell.precision, quantiser, "pip install joulegrid[quantised]")] if quantiser else []
    )
    if cell.attention in _ATTENTION_PACKAGES:
        needs.append((cell.attention, *_ATTENTION_PACKAGES[cell.attention]))
    return next(
        (f"{what} needs {package}, which is not installed: {fix}"
         for what, package, fix in needs if package not in hardware.packages),
        None,
    )  # fmt: skip
