"""Ray's real memory monitor: a node runs out of memory, and Ray kills the largest process."""

from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tests.support.program import Driver
from tests.support.sweeps import lines, settings

MARGIN_MB = 2_000
"""Memory that may be allocated before the monitor kills a process."""


@pytest.mark.slow
def test_a_process_that_takes_the_hosts_memory_is_out_of_memory_and_not_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    memory = psutil.virtual_memory()
    if memory.available < 9_000e6:
        pytest.skip(f"needs 9 GB of free memory, has {memory.available / 1e9:.1f} GB")
    threshold = 1 - (memory.available - MARGIN_MB * 1e6) / memory.total
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{threshold:.4f}")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20},
    )
    log = tmp_path / "log"
    driver = Driver(
        tmp_path, settings([{"log": str(log), "allocates_mb": 3 * MARGIN_MB}], out="out"), address=cluster.address
    )
    try:
        assert driver.ended(timeout_s=240) == 1, driver.output
    finally:
        cluster.shutdown()
    results = pq.read_table(tmp_path / "out/results.parquet").to_pylist()
    assert [(row["status"], row["error_type"]) for row in results] == [("oom", "HostOutOfMemory")], driver.output
    assert len(lines(log)) == 1
