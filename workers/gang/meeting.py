"""How the ranks of one run connect, and the barrier before their windows open.

All ranks connect to a store that rank 0 serves. The ranks that split one model form a torch.distributed world of their
own over it, because transformers splits a model over the whole world; replicas share only the barrier.
"""

import os
import socket
from datetime import timedelta
from typing import Any

_TIMEOUT = timedelta(minutes=30)
"""Only a last resort: when a rank dies, the driver ends the others at once, without waiting for this."""


class Gang:
    """One rank's place among the others.

    Args:
        rank: 0-based, over all replicas; ranks `r * tensor_parallel` and the following split replica `r`.
        world_size: Total number of ranks.
        tensor_parallel: Ranks that split one replica.
        ip: This node's address, as the other nodes see it.
    """

    def __init__(self, *, rank: int, world_size: int, tensor_parallel: int, ip: str) -> None:
        self._rank = rank
        self._world_size = world_size
        self._tensor_parallel = tensor_parallel
        self._ip = ip
        self._store: Any = None
        self._barriers = 0

    def serve(self) -> str:
        """Serve the store, on rank 0; returns its address. The system picks a free port."""
        self._store = self._connect(self._ip, 0, serve=True)
        return f"{self._ip}:{self._store.port}"

    def join(self, address: str) -> None:
        """Connect to the other ranks at `address`: NCCL for GPU tensors, gloo for the rest."""
        import torch
        from torch import distributed

        if self._store is None:
            host, _, port = address.rpartition(":")
            self._store = self._connect(host, int(port), serve=False)
        # gloo listens at the address of the host's name, which on many clusters is 127.0.1.1.
        if interface := _interface_of(self._ip):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        size = self._tensor_parallel if self._tensor_parallel > 1 else self._world_size
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=distributed.PrefixStore(f"replica {self._rank // size}", self._store),
            rank=self._rank % size,
            world_size=size,
            timeout=_TIMEOUT,
        )

    def barrier(self) -> None:
        """Return when every rank of every replica has called it. Does not use the GPU."""
        self._barriers += 1
        name = f"barrier {self._barriers}"
        if self._store.add(name, 1) == self._world_size:
            self._store.set(f"{name} open", "")
        self._store.wait([f"{name} open"])

    def _connect(self, host: str, port: int, *, serve: bool) -> Any:
        from torch.distributed import TCPStore

        return TCPStore(host, port, is_master=serve, wait_for_workers=False, timeout=_TIMEOUT)


def _interface_of(ip: str) -> str | None:
    """The network interface that has this address; None if none has it (behind NAT)."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(address.family == socket.AF_INET and address.address == ip for address in addresses):
            return str(name)
    return None
