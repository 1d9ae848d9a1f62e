"""Where processes go: which nodes can hold a worker, which never can, and what the autoscaler is asked for."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray.cluster_utils
from equipment import AheadClock, Driver, lines, settings, sweep, until

from orchestrator import config, schedule
from orchestrator.backlog import Kind
from orchestrator.config import SweepError
from orchestrator.schedule import cluster as cluster_module
from orchestrator.schedule.cluster import Cluster, Node


def node(name: str, gpus: float = 8, *, card: str | None = "H100", cpus: float = 64, room: float | None = None) -> Node:
    return Node(id=name, host=name, card=card, room=gpus if room is None else room, cpus=cpus, gpus=gpus)


def cluster(*nodes: Node, units: float = 1.0, strategy: str = "STRICT_PACK", **settings: Any) -> Cluster:
    usual = {"device": "cuda" if units else "cpu", "exclusive_node": False} | settings
    return Cluster(units_per_process=units, strategy=strategy, nodes={one.id: one for one in nodes}, **usual)


def placed(on: Cluster, kind: Kind) -> list[str] | None:
    """Hosts of a worker's processes, whose room is taken."""
    nodes = on.place(kind)
    if nodes is None:
        return None
    on.take(nodes)
    return [one.host for one in nodes]


def test_the_fullest_node_that_has_room_is_taken_so_that_gangs_find_theirs() -> None:
    two = cluster(node("a"), node("b"))
    assert placed(two, Kind(1)) == ["a"]
    assert placed(two, Kind(4)) == ["a"] * 4
    assert placed(two, Kind(4)) == ["b"] * 4
    assert placed(two, Kind(3)) == ["a"] * 3
    assert placed(two, Kind(8)) is None


def test_a_worker_gives_back_what_it_took() -> None:
    one = cluster(node("a"))
    nodes = one.place(Kind(8))
    assert nodes
    units = one.take(nodes)
    assert one.place(Kind(1)) is None
    one.give_back(units)
    assert one.place(Kind(8))


def test_a_gang_stays_on_one_node_unless_the_sweep_lets_it_spread() -> None:
    nodes = (node("a", 4), node("b", 4))
    assert placed(cluster(*nodes), Kind(6)) is None
    assert placed(cluster(*nodes, strategy="PACK"), Kind(6)) == ["a"] * 4 + ["b"] * 2
    assert placed(cluster(*nodes, strategy="PACK"), Kind(4)) == ["a"] * 4


def test_a_card_that_is_asked_for_is_the_only_one_taken() -> None:
    mixed = cluster(node("a", card="T4"), node("b", card="H100"))
    assert placed(mixed, Kind(1, card="H100")) == ["b"]
    assert mixed.why_never(Kind(1, card="A100")) == (
        "the cluster cannot hold 1 process on one node with A100: it has a: 8 x T4, 64 CPUs; b: 8 x H100, 64 CPUs"
    )


def test_an_exclusive_node_holds_one_worker() -> None:
    two = cluster(node("a"), node("b"), exclusive_node=True)
    assert [placed(two, Kind(1)), placed(two, Kind(2)), placed(two, Kind(1))] == [["a"], ["b", "b"], None]


def test_processes_share_a_gpu_by_the_share_that_is_asked_for() -> None:
    third = cluster(node("a", 1), units=1 / 3)
    assert [placed(third, Kind(1)) for _ in range(4)] == [["a"], ["a"], ["a"], None]


def test_on_the_cpu_a_node_has_one_lane_and_a_core_for_each_rank() -> None:
    lane = cluster(node("a", 0, cpus=4, room=1), units=0)
    assert lane.why_never(Kind(5)) == "the cluster cannot hold 5 processes on one node: it has a: 4 CPUs"
    assert placed(lane, Kind(4)) == ["a"] * 4
    assert placed(lane, Kind(1)) is None


def test_a_node_that_was_set_aside_is_not_used_and_named() -> None:
    two = cluster(node("a"), node("b"))
    two.set_aside["a"] = "a"
    assert placed(two, Kind(1)) == ["b"]
    two.set_aside["b"] = "b"
    assert str(two.why_never(Kind(1))).endswith("; gets no more runs: a, b")


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([], "0 nodes, no GPU, 0 CPUs"),
        ([node("a", 0, card=None, cpus=1)], "1 node, no GPU, 1 CPU"),
        ([node("a"), node("b", 1, card="T4")], "2 nodes, 9 GPUs (H100, T4), 128 CPUs"),
    ],
)
def test_a_cluster_is_summed_up_in_one_line(nodes: list[Node], said: str) -> None:
    assert (
        cluster(*nodes, origin="joined the Ray cluster at h:6379").summary
        == f"joined the Ray cluster at h:6379: {said}"
    )


def test_without_room_a_kind_waits_as_long_as_the_sweep_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "time", clock := AheadClock())
    none = cluster(wait_for_nodes_s=600)
    assert none.why_never(Kind(1)) is None
    assert none.waits_for_nodes
    clock.by_s += 601
    assert str(none.why_never(Kind(1))).endswith("it has no node at all, and none came in 600 s")


def test_a_node_that_comes_ends_the_wait() -> None:
    none = cluster(wait_for_nodes_s=60)
    none.why_never(Kind(1))
    none.nodes["a"] = node("a")
    assert none.why_never(Kind(1)) is None
    assert not none.waits_for_nodes


def test_a_node_with_fewer_cpus_than_gpus_holds_a_process_per_cpu(ray_session: None) -> None:
    here = schedule.connect(sweep([{}], device="cpu", placement={"gpus_per_process": 0.5}))
    (only,) = here.nodes.values()
    assert (only.gpus, only.cpus, only.room) == (8, 8, 4)


def asked_for() -> list[dict[str, float]]:
    """What Ray's autoscaler is to start nodes for, as it reads it itself."""
    from ray._private.ray_constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
    from ray.experimental.internal_kv import _internal_kv_get

    return list(json.loads(_internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL) or "[]"))


def test_the_autoscaler_is_asked_for_a_node_that_holds_each_gang_and_is_let_go(ray_session: None) -> None:
    none = cluster(wait_for_nodes_s=60)
    none.ask_for({Kind(4, 4, "H100"): 2, Kind(1): 1})
    wanted = {"CPU": 4.0, "GPU": 4.0, "accelerator_type:H100": 0.001}
    assert sorted(asked_for(), key=len) == [{"CPU": 1.0, "GPU": 1.0}, wanted, wanted]
    none.ask_for({})
    assert asked_for() == []


def test_a_fixed_cluster_is_asked_for_nothing(ray_session: None) -> None:
    cluster().ask_for({Kind(4): 2})
    assert asked_for() == []


def test_rows_per_card_need_a_cluster_that_names_its_cards(ray_session: None) -> None:
    asked = config.from_mapping(
        {
            "name": "cards",
            "models": "org/m",
            "precisions": "bf16",
            "device": "cuda",
            "placement": {"one_row_per_card": True},
        }
    )
    with pytest.raises(SweepError, match=r"placement.one_row_per_card: no node of the cluster names its type of card"):
        schedule.connect(asked)


def test_the_driver_of_this_cluster_is_on_its_head(ray_session: None) -> None:
    assert schedule.driver_is_on_head()


@pytest.fixture
def growing() -> Iterator[ray.cluster_utils.Cluster]:
    """A cluster of its own whose head measures nothing, as one that scales from zero begins."""
    made = ray.cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 * 2**20},
    )
    yield made
    made.shutdown()


@pytest.mark.slow
def test_a_sweep_waits_for_the_node_that_can_hold_it(growing: ray.cluster_utils.Cluster, tmp_path: Path) -> None:
    waits = settings([{}, {}], out="out", device="cpu", placement={"gpus_per_process": 1, "wait_for_nodes_s": 1000})
    driver = Driver(tmp_path, waits, address=growing.address)
    until((tmp_path / "out" / "driver.lock").exists)
    time.sleep(3)  # it finds no room, and waits
    assert driver.process.poll() is None
    growing.add_node(num_cpus=1, num_gpus=1, object_store_memory=100 * 2**20)
    assert driver.ended() == 0, driver.said
    rows = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok"]


@pytest.mark.slow
def test_a_sweep_that_waits_in_vain_ends_with_why(growing: ray.cluster_utils.Cluster, tmp_path: Path) -> None:
    waits = settings([{}], out="out", device="cpu", placement={"gpus_per_process": 1, "wait_for_nodes_s": 1})
    driver = Driver(tmp_path, waits, address=growing.address)
    assert driver.ended() == 1, driver.said
    (row,) = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert row["status"] == "skipped"
    assert row["error_message"].endswith("and none came in 1 s")


@pytest.mark.slow
def test_each_cell_is_measured_on_each_type_of_card_when_the_sweep_asks(
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
    asked = settings([{"log": str(log)}, {"log": str(log)}], out="out", placement={"one_row_per_card": True})
    driver = Driver(tmp_path, asked, address=growing.address)
    assert driver.ended() == 0, driver.said
    rows = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert sorted(row["accelerator_type"] for row in rows) == ["A100", "A100", "H100", "H100"]
    assert len({row["cell_id"] for row in rows}) == 4
    where = {key: node for key, _, _, node in lines(log)}
    assert {row["cell_id"]: nodes[row["accelerator_type"]] for row in rows} == {
        key.partition(".")[0]: node for key, node in where.items()
    }
