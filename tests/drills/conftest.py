"""Clusters that drills may harm."""

import os
from collections.abc import Iterator

import pytest

from tests.support.program import SECRET


@pytest.fixture(scope="session")
def two_gpus() -> Iterator[str]:
    """The address of a cluster of one node with two simulated GPUs, whose processes hold a secret."""
    from ray.cluster_utils import Cluster

    os.environ["HF_TOKEN"] = SECRET
    cluster = Cluster(initialize_head=True, head_node_args=_node(num_cpus=2, num_gpus=2))
    del os.environ["HF_TOKEN"]
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def two_nodes() -> Iterator["tuple[object, object]"]:
    """A cluster of two nodes with two CPUs each, and the node that is not its head."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=_node(num_cpus=2))
    other = cluster.add_node(**_node(num_cpus=2))
    cluster.wait_for_nodes()
    yield cluster, other
    cluster.shutdown()


def _node(**resources: float) -> dict[str, object]:
    return {"include_dashboard": False, "object_store_memory": 100 * 2**20, **resources}
