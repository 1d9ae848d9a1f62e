"""Drills on nodes: one that is removed during a cell, and one that kills every process."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support.processes import until
from tests.support.program import Driver
from tests.support.sweeps import lines, settings


@pytest.mark.slow
def test_a_failing_node_is_quarantined_and_a_lost_node_is_survived(tmp_path: Path, two_nodes: tuple[Any, Any]) -> None:
    cluster, other = two_nodes
    log = tmp_path / "log"
    seen = tmp_path / "seen"
    act = {"log": str(log), "kills": "", "on_node": other.node_id, "else_wait_for": str(seen)}
    driver = Driver(tmp_path, settings([act] * 4, out="bad", max_node_failures=2), address=cluster.address)
    until(lambda: [node for *_, node in lines(log)].count(other.node_id) == 2)
    seen.touch()
    assert driver.ended(timeout_s=240) == 0, driver.output
    nodes = [node for *_, node in lines(log)]
    assert nodes.count(other.node_id) == 2
    assert f"({other.node_id}) is quarantined and gets no more runs after 2 failures in a row" in driver.output
    assert pq.read_table(tmp_path / "bad/results.parquet")["status"].to_pylist() == ["ok"] * 4

    log.unlink()
    go_on, never = tmp_path / "go on", tmp_path / "never"
    act = {"log": str(log), "wait_for": str(never), "on_node": other.node_id, "else_wait_for": str(go_on)}
    driver = Driver(tmp_path, settings([act] * 2, out="cut"), address=cluster.address)
    until(lambda: len(lines(log)) == 2)
    (lost,) = (key for key, *_, node in lines(log) if node == other.node_id)
    cluster.remove_node(other, allow_graceful=False)
    go_on.touch()
    assert driver.ended(timeout_s=240) == 0, driver.output
    again = [node for key, *_, node in lines(log) if key == lost]
    assert again[0] == other.node_id
    assert set(again[1:]) == {cluster.head_node.node_id}
    raw = pq.read_table(tmp_path / "cut/raw.parquet")
    assert sorted(zip(raw["status"].to_pylist(), raw["attempt"].to_pylist(), strict=True)) == [
        ("lost", 1),
        ("ok", 1),
        ("ok", 2),
    ]
