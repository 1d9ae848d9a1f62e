"""The hardware and packages of this process, from which `orchestrator.support` decides what it supports."""

from workers.records import Hardware
from workers.records.wire import optional_packages


def hardware() -> Hardware:
    """The device that torch sees, and the installed optional packages."""
    import torch

    cuda = torch.cuda.is_available()
    return Hardware(
        device="cuda" if cuda else "cpu",
        card=torch.cuda.get_device_name() if cuda else None,
        compute_capability=torch.cuda.get_device_capability() if cuda else None,
        packages=optional_packages(),
    )
