"""Several ranks of one run: how they meet, and the barrier before their windows open."""

import socket
from datetime import timedelta

_PATIENCE = timedelta(minutes=30)
"""Only a bound: when a rank dies, the driver ends the others at once and waits for no time-out."""


def free_address(ip: str) -> str:
    """`ip` with a port that is free right now."""
    with socket.socket() as sock:
        sock.bind((ip, 0))
        return f"{ip}:{sock.getsockname()[1]}"


def join(address: str, *, rank: int, world_size: int) -> None:
    """Meet the other ranks at `address` (rank 0 listens there), with NCCL for GPU tensors and gloo for the rest."""
    import torch
    from torch import distributed

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(
        backend, init_method=f"tcp://{address}", rank=rank, world_size=world_size, timeout=_PATIENCE
    )


def barrier() -> None:
    """Return when every rank has come here."""
    import torch
    from torch import distributed

    # A sum over a host tensor: it goes through gloo and leaves nothing on the GPU's queue.
    distributed.all_reduce(torch.zeros(1))
