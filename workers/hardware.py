"""What this process could run on, for the rules of the impossible (`orchestrator.hardware`)."""

from functools import cache
from importlib.util import find_spec
from typing import Literal, TypedDict

_OPTIONAL = ("bitsandbytes", "torchao", "flash_attn", "flash_attn_interface")


class Facts(TypedDict):
    """The fields of `orchestrator.hardware.Hardware`."""

    device: Literal["cuda", "cpu"]
    card: str | None
    compute_capability: tuple[int, int] | None
    packages: frozenset[str]


def facts() -> Facts:
    """The device that torch sees, and the optional packages that are installed."""
    import torch

    cuda = torch.cuda.is_available()
    return Facts(
        device="cuda" if cuda else "cpu",
        card=torch.cuda.get_device_name() if cuda else None,
        compute_capability=torch.cuda.get_device_capability() if cuda else None,
        packages=packages(),
    )


@cache
def packages() -> frozenset[str]:
    """Import names of the optional packages that are installed here."""
    return frozenset(name for name in _OPTIONAL if find_spec(name))
