"""What the ranks of one run must know of each other while they measure. `workers.gang` is how they meet."""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from workers.records import Cell


def pids() -> list[int]:
    """Processes of this run on this host, where it has several: on a shared card they are not foreign."""
    if not dist.is_available() or not dist.is_initialized():
        return []
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, (socket.gethostname(), os.getpid()))
    return [pid for host, pid in everyone if host == socket.gethostname()]


def agreement(cell: Cell) -> Callable[[bool], bool]:
    """How ranks that split one model decide alike: one that stopped earlier would leave the others waiting for ever.

    Ranks with a replica each decide for themselves: their windows may differ in length.
    """
    if cell.tensor_parallel == 1:
        return lambda decision: decision

    def follow_rank_0(decision: bool) -> bool:
        box = torch.tensor([decision])  # on the host: it goes through gloo and leaves nothing on the GPU's queue
        dist.broadcast(box, src=0)
        return bool(box)

    return follow_rank_0
