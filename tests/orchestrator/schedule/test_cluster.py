"""Where processes go: which nodes can hold a worker, which never can, and what the autoscaler is requested to add."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray.cluster_utils

from orchestrator import config, schedule
from orchestrator.config import SweepError
from orchestrator.schedule import cluster as cluster_module
from orchestrator.schedule.backlog import WorkerShape
from orchestrator.schedule.cluster import Cluster, Node
from tests.support.processes import AheadClock, until
from tests.support.program import Driver
from tests.support.sweeps import lines, settings, sweep


def node(
    name: str, gpus: float = 8, *, card: str | None = "H100", cpus: float = 64, capacity: float | None = None
) -> Node:
    return Node(id=name, host=name, card=card, capacity=gpus if capacity is None else capacity, cpus=cpus, gpus=gpus)


def cluster(*nodes: Node, units: float = 1.0, strategy: str = "STRICT_PACK", **settings: Any) -> Cluster:
    usual = {"device": "cuda" if units else "cpu", "exclusive_node": False} | settings
    return Cluster(units_per_process=units, strategy=strategy, nodes={one.id: one for one in nodes}, **usual)


def placed(on: Cluster, shape: WorkerShape) -> list[str] | None:
    """Hosts of a worker's processes, whose units are taken."""
    nodes = on.place(shape)
    if nodes is None:
        return None
    on.take(nodes)
    return [one.host for one in nodes]


def test_the_fullest_node_with_capacity_is_taken_so_that_gangs_fit_elsewhere() -> None:
    two = cluster(node("a"), node("b"))
    assert placed(two, WorkerShape(1)) == ["a"]
    assert placed(two, WorkerShape(4)) == ["a"] * 4
    assert placed(two, WorkerShape(4)) == ["b"] * 4
    assert placed(two, WorkerShape(3)) == ["a"] * 3
    assert placed(two, WorkerShape(8)) is None


def test_a_worker_gives_back_what_it_took() -> None:
    one = cluster(node("a"))
    nodes = one.place(WorkerShape(8))
    assert nodes
    units = one.take(nodes)
    assert one.place(WorkerShape(1)) is None
    one.give_back(units)
    assert one.place(WorkerShape(8))


def test_a_gang_stays_on_one_node_unless_the_sweep_lets_it_spread() -> None:
    nodes = (node("a", 4), node("b", 4))
    assert placed(cluster(*nodes), WorkerShape(6)) is None
    assert placed(cluster(*nodes, strategy="PACK"), WorkerShape(6)) == ["a"] * 4 + ["b"] * 2
    assert placed(cluster(*nodes, strategy="PACK"), WorkerShape(4)) == ["a"] * 4


def test_a_worker_goes_only_to_its_type_of_card() -> None:
    mixed = cluster(node("a", card="T4"), node("b", card="H100"))
    assert placed(mixed, WorkerShape(1, card="H100")) == ["b"]
    assert mixed.why_never(WorkerShape(1, card="A100")) == (
        "the cluster cannot hold 1 process on one node with A100: it has a: 8 x T4, 64 CPUs; b: 8 x H100, 64 CPUs"
    )


def test_an_exclusive_node_holds_one_worker() -> None:
    two = cluster(node("a"), node("b"), exclusive_node=True)
    assert [placed(two, WorkerShape(1)), placed(two, WorkerShape(2)), placed(two, WorkerShape(1))] == [
        ["a"],
        ["b", "b"],
        None,
    ]


def test_processes_share_a_gpu_by_their_share() -> None:
    third = cluster(node("a", 1), units=1 / 3)
    assert [placed(third, WorkerShape(1)) for _ in range(4)] == [["a"], ["a"], ["a"], None]


def test_on_the_cpu_a_node_has_one_lane_and_a_core_for_each_rank() -> None:
    lane = cluster(node("a", 0, cpus=4, capacity=1), units=0)
    assert lane.why_never(WorkerShape(5)) == "the cluster cannot hold 5 processes on one node: it has a: 4 CPUs"
    assert placed(lane, WorkerShape(4)) == ["a"] * 4
    assert placed(lane, WorkerShape(1)) is None


def test_a_quarantined_node_is_not_used_and_is_named() -> None:
    two = cluster(node("a"), node("b"))
    two.quarantined["a"] = "a"
    assert placed(two, WorkerShape(1)) == ["b"]
    two.quarantined["b"] = "b"
    assert str(two.why_never(WorkerShape(1))).endswith("; quarantined: a, b")


@pytest.mark.parametrize(
    ("nodes", "counts"),
    [
        ([], "0 nodes, no GPU, 0 CPUs"),
        ([node("a", 0, card=None, cpus=1)], "1 node, no GPU, 1 CPU"),
        ([node("a"), node("b", 1, card="T4")], "2 nodes, 9 GPUs (H100, T4), 128 CPUs"),
    ],
)
def test_a_cluster_is_summarised_in_one_line(nodes: list[Node], counts: str) -> None:
    assert (
        cluster(*nodes, origin="joined the Ray cluster at h:6379").summary
        == f"joined the Ray cluster at h:6379: {counts}"
    )


def test_a_shape_without_capacity_waits_as_long_as_the_sweep_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "time", clock := AheadClock())
    none = cluster(wait_for_nodes_s=600)
    assert none.why_never(WorkerShape(1)) is None
    assert none.waits_for_nodes
    clock.by_s += 601
    assert str(none.why_never(WorkerShape(1))).endswith("it has no nodes; no suitable node came within 600 s")


def test_a_new_node_ends_the_wait() -> None:
    none = cluster(wait_for_nodes_s=60)
    none.why_never(WorkerShape(1))
    none.nodes["a"] = node("a")
    assert none.why_never(WorkerShape(1)) is None
    assert not none.waits_for_nodes


def test_a_node_with_fewer_cpus_than_gpus_holds_a_process_per_cpu(ray_session: None) -> None:
    here = schedule.connect(sweep([{}], device="cpu", placement={"gpus_per_process": 0.5}))
    (only,) = here.nodes.values()
    assert (only.gpus, only.cpus, only.capacity) == (8, 8, 4)


def requested() -> list[dict[str, float]]:
    """The resources that are requested from Ray's autoscaler, as the autoscaler reads them."""
    from ray._private.ray_constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
    from ray.experimental.internal_kv import _internal_kv_get

    return list(json.loads(_internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL) or "[]"))


def test_the_autoscaler_gets_a_request_for_each_gang_and_its_end(ray_session: None) -> None:
    none = cluster(wait_for_nodes_s=60)
    none.ask_for({WorkerShape(4, 4, "H100"): 2, WorkerShape(1): 1})
    wanted = {"CPU": 4.0, "GPU": 4.0, "accelerator_type:H100": 0.001}
    assert sorted(requested(), key=len) == [{"CPU": 1.0, "GPU": 1.0}, wanted, wanted]
    none.ask_for({})
    assert requested() == []


def test_a_fixed_cluster_gets_no_request(ray_session: None) -> None:
    cluster().ask_for({WorkerShape(4): 2})
    assert requested() == []


def test_rows_per_card_need_a_cluster_that_names_its_cards(ray_session: None) -> None:
    per_card = config.from_mapping(
        {
            "name": "cards",
            "models": "org/m",
            "precisions": "bf16",
            "device": "cuda",
            "placement": {"one_row_per_card": True},
        }
    )
    with pytest.raises(SweepError, match=r"placement.one_row_per_card: no node of the cluster names its type of card"):
        schedule.connect(per_card)


def test_the_driver_of_this_cluster_is_on_its_head(ray_session: None) -> None:
    assert schedule.driver_is_on_head()


@pytest.fixture
def growing() -> Iterator[ray.cluster_utils.Cluster]:
    """A cluster of the test's own whose head measures nothing, as before it scales from zero."""
    growing = ray.cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 * 2**20},
    )
    yield growing
    growing.shutdown()


@pytest.mark.slow
def test_a_sweep_waits_for_the_node_that_can_hold_it(growing: ray.cluster_utils.Cluster, tmp_path: Path) -> None:
    waits = settings([{}, {}], out="out", device="cpu", placement={"gpus_per_process": 1, "wait_for_nodes_s": 1000})
    driver = Driver(tmp_path, waits, address=growing.address)
    until((tmp_path / "out" / "driver.lock").exists)
    time.sleep(3)  # it has no capacity, and waits
    assert driver.process.poll() is None
    growing.add_node(num_cpus=1, num_gpus=1, object_store_memory=100 * 2**20)
    assert driver.ended() == 0, driver.output
    rows = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok"]


@pytest.mark.slow
def test_a_sweep_that_waits_in_vain_ends_with_the_reason(growing: ray.cluster_utils.Cluster, tmp_path: Path) -> None:
    waits = settings([{}], out="out", device="cpu", placement={"gpus_per_process": 1, "wait_for_nodes_s": 1})
    driver = Driver(tmp_path, waits, address=growing.address)
    assert driver.ended() == 1, driver.output
    (row,) = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert row["status"] == "skipped"
    assert row["error_message"].endswith("; no suitable node came within 1 s")


@pytest.mark.slow
def test_one_row_per_card_measures_each_cell_on_each_type_of_card(
    growing: ray.cluster_utils.Cluster, tmp_path: Path
) -> None:
    nodes = {
        card: growing.add_node(
            num_cpus=1, num_gpus=1, object_store_memory=100 * 2**20, resources={f"accelerator_type:{card}": 1}
        ).node_id
        for card in ("A100", "H100")
    }
    growing.wait_for_nodes()
    log = tmp_path / "log"
    per_card = settings([{"log": str(log)}, {"log": str(log)}], out="out", placement={"one_row_per_card": True})
    driver = Driver(tmp_path, per_card, address=growing.address)
    assert driver.ended() == 0, driver.output
    rows = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert sorted(row["accelerator_type"] for row in rows) == ["A100", "A100", "H100", "H100"]
    assert len({row["cell_id"] for row in rows}) == 4
    where = {key: node for key, _, _, node in lines(log)}
    assert {row["cell_id"]: nodes[row["accelerator_type"]] for row in rows} == {
        key.partition(".")[0]: node for key, node in where.items()
    }
