"""Which cluster a sweep would run on, for `doctor`."""

import os
import socket

import ray

from orchestrator.schedule.cluster import HEAD


def nodes() -> list[str]:
    """A line for each node of the cluster that a sweep would join, or would start here."""
    _knock(os.environ.get("RAY_ADDRESS", ""))
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        return [_line(node) for node in ray.nodes() if node["Alive"]]
    finally:
        if started:
            ray.shutdown()


def _knock(address: str) -> None:
    """Fail at once where nobody listens; Ray itself would try for more than a minute."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "//" not in host:
        socket.create_connection((host, int(port)), timeout=5).close()


def _line(node: dict[str, object]) -> str:
    resources = node["Resources"]
    assert isinstance(resources, dict)
    cards = ", ".join(name.partition(":")[2] for name in resources if name.startswith("accelerator_type:"))
    head = " (head)" if HEAD in resources else ""
    gpus = f"{resources.get('GPU', 0):g} GPUs {cards}".strip()
    return f"{node['NodeManagerHostname']}{head}: {resources.get('CPU', 0):g} CPUs, {gpus}"
