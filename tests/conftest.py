"""A Ray cluster for the whole session, of this machine's own: other clusters on it are never joined."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# Ray's processes inherit these: they import the stand-ins from this folder, and the packages from the one above, which
# must come first: this one has folders of the same names.
os.environ |= {
    "RAY_ADDRESS": "local",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH")])),
}


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A cluster of one node with 8 simulated GPUs, for this process and for the drivers that tests start."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 8, "num_gpus": 8, "include_dashboard": False, "object_store_memory": 100 * 2**20,
        },
    )  # fmt: skip
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="session")
def ray_session(ray_address: str) -> Iterator[None]:
    """This process joined to that cluster; it stays so, and actors end with what made them."""
    import ray

    if not ray.is_initialized():
        ray.init(address=ray_address, logging_level="warning", log_to_driver=False)
    yield
