"""What the ranks of one run exchange while they measure. `workers.gang.meeting` connects them."""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from workers.records import Cell


def pids() -> list[int]:
    """Processes of this run on this host, if it has several ranks: on a shared card they are not foreign."""
    if not dist.is_available() or not dist.is_initialized():
        return []
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, (socket.gethostname(), os.getpid()))
    return [pid for host, pid in everyone if host == socket.gethostname()]


def agreement(cell: Cell) -> Callable[[bool], bool]:
    """A function that gives all ranks of a split model rank 0's decision; otherwise some would wait forever.

    Ranks with a replica of their own decide independently: their windows may differ in length.
    """
    if cell.tensor_parallel == 1:
        return lambda decision: decision

    def follow_rank_0(decision: bool) -> bool:
        shared = torch.tensor([decision])  # on the CPU: it goes through gloo and does not enter the GPU's queue
        dist.broadcast(shared, src=0)
        return bool(shared)

    return follow_rank_0
