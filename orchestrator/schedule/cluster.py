"""The cluster as the schedule sees it: the nodes, their capacity, and the units that workers have taken.

The driver chooses each process's node itself. It therefore knows where a run was when a node dies, can try another
node, and never requests what no node has; Ray would wait for that for ever.
"""

import atexit
import contextlib
import logging
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

from orchestrator.config import Problem, SweepConfig, SweepError
from orchestrator.schedule import address, watch
from orchestrator.schedule.address import ClusterError
from orchestrator.schedule.backlog import WorkerShape
from workers.records.text import one_line

HEAD = "node:__internal_head__"
CPUS_PER_PROCESS = 1
_CARD = "accelerator_type:"
_ROUNDING = 1e-9  # shares of a GPU such as 1/3 do not add up exactly
_PRIORITY = {"RAY_worker_niceness": "0"}
"""Ray gives its workers niceness 15: other processes on the node would take the CPU from the measured ones."""

_RAY_SETTINGS = _PRIORITY | {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Many raylets look for their object store before it is ready. Ray would sleep for 1 s, up to ten times.
    "RAY_raylet_client_connect_timeout_milliseconds": "50",
    "RAY_raylet_client_num_connect_attempts": "200",
}
"""Environment of a Ray cluster that is started here; variables that the user has set take precedence."""

_ASKED_AT_ONCE = 1000
"""Most workers to request from the autoscaler; the cluster's `max_workers` is the actual limit."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of the cluster."""

    id: str
    host: str
    card: str | None
    """Ray's name of the card's type; null without GPUs."""
    capacity: float
    """Units that processes can take: GPUs, or one lane on a node that measures on its CPU."""
    cpus: float
    gpus: float = 0.0


@dataclass
class Cluster:
    """The nodes, the units taken on each, and the nodes that are quarantined."""

    device: str
    """`cuda` or `cpu`; `auto` is resolved."""
    units_per_process: float
    exclusive_node: bool
    strategy: str
    wait_for_nodes_s: float = 0.0
    """How long to wait for new nodes when no node can hold a shape of worker. Unit: s."""
    nodes: dict[str, Node] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    quarantined: dict[str, str] = field(default_factory=dict)
    """Nodes that failed repeatedly: id -> host and cause."""
    origin: str = "the Ray cluster of this process"
    """How this process joined the cluster."""
    _free: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Free resources of each node, as Ray counts them."""
    _without_capacity_since: dict[WorkerShape, float] = field(default_factory=dict)

    def refresh(self) -> set[str]:
        """Ask Ray which nodes are alive; returns the ids of those that are gone."""
        before = set(self.nodes)
        self._free = ray._private.state.available_resources_per_node()  # noqa: SLF001 - public ways need the dashboard
        self.nodes = {node.id: node for node in _alive(self.device, self.units_per_process)}
        return before - set(self.nodes)

    @property
    def summary(self) -> str:
        """How this process joined the cluster, and the cluster's nodes, GPUs and CPUs, in one line."""
        nodes = self.nodes.values()
        gpus, cpus = sum(node.gpus for node in nodes), sum(node.cpus for node in nodes)
        cards = ", ".join(sorted({node.card for node in nodes if node.card}))
        counts = [
            f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}",
            f"{gpus:g} GPU{'' if gpus == 1 else 's'}" + (f" ({cards})" if cards else "") if gpus else "no GPU",
            f"{cpus:g} CPU{'' if cpus == 1 else 's'}",
        ]
        return f"{self.origin}: {', '.join(counts)}"

    @property
    def cards(self) -> set[str | None]:
        """The types of cards that processes may run on."""
        return {node.card for node in self.nodes.values() if node.capacity}

    def place(self, shape: WorkerShape, avoid: Collection[str] = ()) -> list[Node] | None:
        """A node for each process of a worker of `shape`: the fullest with enough free units; null where none has.

        Gangs stay on one node, or with `PACK` use as few nodes as possible.

        Args:
            shape: The worker's.
            avoid: Ids of nodes to use only if no other will do.
        """
        nodes = sorted(self.able(shape.card), key=lambda node: (node.id in avoid, self._left(node), node.id))
        for node in nodes:
            if self._fits(shape.processes, node, self._left(node)):
                return [node] * shape.processes
        return self._spread(shape.processes, nodes, self._left) if self._may_spread else None

    def take(self, nodes: Sequence[Node]) -> dict[str, float]:
        """Take the units of a worker's processes; returns them for `give_back`."""
        counts = Counter(node.id for node in nodes)
        capacity = {node.id: node.capacity for node in nodes}
        units = {
            id_: capacity[id_] if self._whole_node else count * self.units_per_process for id_, count in counts.items()
        }
        self.taken.update(units)
        return units

    def give_back(self, units: Mapping[str, float]) -> None:
        """Free what `take` took."""
        self.taken.subtract(units)

    def why_never(self, shape: WorkerShape) -> str | None:
        """Why no node can ever hold a worker of `shape`; null where one can, or may still be added."""
        reason = self._why_not(shape)
        if reason is None:
            self._without_capacity_since.pop(shape, None)
            return None
        since = self._without_capacity_since.setdefault(shape, time.monotonic())
        if time.monotonic() - since < self.wait_for_nodes_s:
            return None
        waited = f"; no suitable node came within {self.wait_for_nodes_s:g} s" if self.wait_for_nodes_s else ""
        return reason + waited

    def has_capacity_now(self, nodes: Sequence[Node]) -> bool:
        """Whether these nodes have free resources for a worker's processes, other jobs included; as of `refresh`."""
        return all(
            self._free.get(id_, {}).get("GPU", 0.0) + _ROUNDING >= processes * self.units_per_process
            and self._free.get(id_, {}).get("CPU", 0.0) >= processes * CPUS_PER_PROCESS
            for id_, processes in Counter(node.id for node in nodes).items()
        )

    @property
    def waits_for_nodes(self) -> bool:
        """Whether a shape of worker waits for new nodes: `why_never` must be called again later."""
        return bool(self._without_capacity_since)

    def ask_for(self, shapes: Mapping[WorkerShape, int]) -> None:
        """Request nodes from Ray's autoscaler for so many workers of each shape; an empty mapping ends the request.

        Processes go only to nodes with free units, so Ray itself never sees that more nodes would help. Without
        `wait_for_nodes_s`, nothing is requested: a fixed cluster has no autoscaler.
        """
        if self.wait_for_nodes_s:
            bundles = (
                self._bundle(shape) for shape, count in shapes.items() for _ in range(min(count, _ASKED_AT_ONCE))
            )
            request_resources(bundles=list(bundles)[:_ASKED_AT_ONCE])

    def _bundle(self, shape: WorkerShape) -> dict[str, float]:
        """The resources of one worker, in whole GPUs as the autoscaler requires."""
        bundle: dict[str, float] = {"CPU": shape.processes * CPUS_PER_PROCESS}
        if self.units_per_process:
            bundle["GPU"] = math.ceil(shape.processes * self.units_per_process - _ROUNDING)
        if shape.card:
            bundle[_CARD + shape.card] = 0.001  # Ray gives each node 1 of its card's name
        return bundle

    def _why_not(self, shape: WorkerShape) -> str | None:
        nodes = self.able(shape.card)
        if any(self._fits(shape.processes, node, node.capacity) for node in nodes):
            return None
        if self._may_spread and self._spread(shape.processes, nodes, lambda node: node.capacity):
            return None
        plural = "es" if shape.processes > 1 else ""
        together = "" if self._may_spread else " on one node"
        what = f"{shape.processes} process{plural}{together}" + (f" with {shape.card}" if shape.card else "")
        has = "; ".join(sorted({_describe(node) for node in self.nodes.values()})) or "no nodes"
        unused = f"; quarantined: {', '.join(sorted(self.quarantined.values()))}" if self.quarantined else ""
        return f"the cluster cannot hold {what}: it has {has}{unused}"

    @property
    def _whole_node(self) -> bool:
        """Whether a worker takes its whole node: the sweep sets `exclusive_node`, or measures on the CPU."""
        return self.exclusive_node or self.units_per_process == 0

    @property
    def _may_spread(self) -> bool:
        return self.strategy == "PACK" and not self._whole_node

    def able(self, card: str | None) -> list[Node]:
        """Nodes that may hold processes on this type of card (null: any), free or not."""
        return [
            node
            for node in self.nodes.values()
            if node.capacity > 0 and node.id not in self.quarantined and card in (None, node.card)
        ]

    def _left(self, node: Node) -> float:
        return node.capacity - self.taken[node.id]

    def _fits(self, processes: int, node: Node, left: float) -> bool:
        need = node.capacity if self._whole_node else processes * self.units_per_process
        enough = processes * CPUS_PER_PROCESS <= node.cpus
        return enough and max(need, processes * self.units_per_process) <= left + _ROUNDING

    def _spread(self, processes: int, nodes: Sequence[Node], left: Callable[[Node], float]) -> list[Node] | None:
        """A node for each process, the emptiest nodes first; null where the units do not suffice."""
        slots: list[Node] = []
        for node in sorted(nodes, key=left, reverse=True):
            slots += [node] * int(left(node) / self.units_per_process + _ROUNDING)
        return slots[:processes] if len(slots) >= processes else None


def _describe(node: Node) -> str:
    cards = f"{node.gpus:g} x {node.card or 'GPU'}, " if node.gpus else ""
    return f"{node.host}: {cards}{node.cpus:g} CPUs"


def connect(sweep: SweepConfig) -> Cluster:
    """Join the cluster that RAY_ADDRESS or a `ray start` on this host names, or start one here.

    Raises:
        ClusterError: The cluster cannot be joined, or none can be started.
        SweepError: The sweep makes rows per type of card, and no node names its type.
    """
    origin = Cluster.origin if ray.is_initialized() else _joined_or_started()
    placement = sweep.placement
    has_gpus = ray.cluster_resources().get("GPU", 0) > 0
    device = sweep.device if sweep.device != "auto" else ("cuda" if has_gpus else "cpu")
    per_process = placement.gpus_per_process
    if per_process is None:
        per_process = 1.0 if device == "cuda" else 0.0
    cluster = Cluster(
        device=device,
        units_per_process=per_process,
        exclusive_node=placement.exclusive_node,
        strategy=placement.strategy,
        wait_for_nodes_s=placement.wait_for_nodes_s,
        origin=origin,
    )
    cluster.refresh()
    if placement.one_row_per_card and not any(cluster.cards):
        message = "no node of the cluster names its type of card, so there can be no row per card; leave it out"
        raise SweepError([Problem(("placement", "one_row_per_card"), message)], sweep.origin)
    return cluster


def _joined_or_started() -> str:
    """Join a cluster or start one; returns which, as a sentence."""
    joins = address.checked()
    plain = {} if sys.stdout.isatty() else {"RAY_COLOR_PREFIX": "0"}  # a log file would hold colour codes
    os.environ.update(_RAY_SETTINGS | plain | os.environ)
    # Ray warns at every start that token authentication, its own default, is on.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    # A cluster that is joined has its own settings. As a runtime environment, ours would cost 0.7 s per process.
    runtime_env = {"env_vars": _PRIORITY} if joins else None
    try:
        ray.init(include_dashboard=False, log_to_driver=True, logging_level="warning", runtime_env=runtime_env)
    except (OSError, RuntimeError, ValueError) as error:
        what = f"join the Ray cluster at {joins}" if joins else "start Ray on this machine"
        raise ClusterError(f"cannot {what}: {one_line(str(error)) or type(error).__name__}") from error
    atexit.register(_leave)
    if joins:
        return f"joined the Ray cluster at {joins} (named by {address.source()})"
    return "started a Ray cluster on this machine"


def _leave() -> None:
    """Leave the cluster, and stop it if it was started here, before Ray does so at exit.

    Ray's own exit takes 2 s: a pause for the last log lines, which have already arrived, and 1 s for its autoscaler to
    react. If the cluster is gone, Ray would block, so this process ends at once.
    """
    node = ray._private.worker._global_node  # noqa: SLF001 - there is no public way
    if watch.lost():
        with contextlib.suppress(Exception):  # the exit code must not change
            node.kill_all_processes(check_alive=False, allow_graceful=False)
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(watch.LOST_EXIT_CODE)
    with contextlib.suppress(AttributeError):
        node.kill_monitor(check_alive=False)
    ray.shutdown()


def logs_folder() -> str:
    """The folder of Ray's logs, the same on every node."""
    return str(ray._private.worker._global_node.get_logs_dir_path())  # noqa: SLF001 - as above


def driver_is_on_head() -> bool:
    """Whether this process runs on the cluster's head node, whose disk outlives the job."""
    here = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == here and HEAD in node["Resources"] for node in ray.nodes())


def has_started(actor: Any) -> bool:
    """Whether Ray has placed the actor and started its process; also true of an actor that is gone."""
    known = ray._private.state.actors(actor._actor_id.hex())  # noqa: SLF001 - as above
    return not known or known["State"] not in ("DEPENDENCIES_UNREADY", "PENDING_CREATION")


def _alive(device: str, units_per_process: float) -> Iterable[Node]:
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        resources = node["Resources"]
        cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        yield Node(
            id=node["NodeID"],
            host=node["NodeManagerHostname"],
            card=next((name.removeprefix(_CARD) for name in resources if name.startswith(_CARD)), None),
            capacity=_units(device, units_per_process, cpus=cpus, gpus=gpus),
            cpus=cpus,
            gpus=gpus,
        )


def _units(device: str, units_per_process: float, *, cpus: float, gpus: float) -> float:
    """Capacity of a node. A process without a CPU of its own would wait for one for ever, even if GPUs are free."""
    if units_per_process:
        return min(gpus, cpus // CPUS_PER_PROCESS * units_per_process)
    # On the CPU, two measurements on one node would slow each other: one lane each.
    return float(device == "cpu" and cpus > 0)
