"""The cluster that a sweep would run on, for `doctor`."""

import ray

from orchestrator.schedule import address
from orchestrator.schedule.cluster import HEAD


def nodes() -> list[str]:
    """One line per node of the cluster that a sweep would join, or would start here.

    Raises:
        ClusterError: The cluster does not answer, or the address is invalid.
    """
    address.checked()
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        return [_line(node) for node in ray.nodes() if node["Alive"]]
    finally:
        if started:
            ray.shutdown()


def _line(node: dict[str, object]) -> str:
    resources = node["Resources"]
    assert isinstance(resources, dict)
    cards = ", ".join(name.partition(":")[2] for name in resources if name.startswith("accelerator_type:"))
    head = " (head)" if HEAD in resources else ""
    gpus = f"{resources.get('GPU', 0):g} GPUs {cards}".strip()
    return f"{node['NodeManagerHostname']}{head}: {resources.get('CPU', 0):g} CPUs, {gpus}"
