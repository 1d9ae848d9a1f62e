"""The cluster as the schedule sees it: nodes with room for processes, and who holds what.

The driver chooses each process's node itself. So it knows where a run was when a node dies, can try elsewhere, and
never asks Ray for what no node has (Ray would wait for it for ever).
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

from orchestrator.backlog import Kind
from orchestrator.config import Problem, SweepConfig, SweepError
from orchestrator.schedule import address, watch
from orchestrator.schedule.address import ClusterError
from workers.records.text import one_line

HEAD = "node:__internal_head__"
CPUS_PER_PROCESS = 1
_CARD = "accelerator_type:"
_ROUNDING = 1e-9  # shares of a GPU such as 1/3 do not add up exactly
_PRIORITY = {"RAY_worker_niceness": "0"}
"""Ray gives its workers niceness 15: whatever else runs on the node would take the CPU from what is measured."""

_RAY_SETTINGS = _PRIORITY | {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Every other raylet finds its own object store a moment too early. Ray would sleep for a second, ten times at most.
    "RAY_raylet_client_connect_timeout_milliseconds": "50",
    "RAY_raylet_client_num_connect_attempts": "200",
}
"""Environment of a Ray that is started here, where the user has not set it."""

_ASKED_AT_ONCE = 1000
"""Workers that the autoscaler is asked for at most; the cluster's own `max_workers` is the real bound."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of the cluster."""

    id: str
    host: str
    card: str | None
    """The card's type in Ray's words; null without GPUs."""
    room: float
    """Units that processes take up: GPUs, or one lane on a node that measures on its CPU."""
    cpus: float
    gpus: float = 0.0


@dataclass
class Cluster:
    """Nodes, the units taken on each, and the nodes that are set aside."""

    device: str
    """`cuda` or `cpu`: what `auto` came to."""
    units_per_process: float
    exclusive_node: bool
    strategy: str
    wait_for_nodes_s: float = 0.0
    """How long a kind of worker that no node can hold may wait for nodes to come. Unit: s."""
    nodes: dict[str, Node] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    set_aside: dict[str, str] = field(default_factory=dict)
    """Nodes that failed again and again: id -> host and cause."""
    origin: str = "the Ray cluster of this process"
    """How this process came to the cluster."""
    _free: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What is free on each node, by Ray's books."""
    _without_room_since: dict[Kind, float] = field(default_factory=dict)

    def refresh(self) -> set[str]:
        """Ask Ray which nodes live; returns the ids of those that are gone."""
        before = set(self.nodes)
        self._free = ray._private.state.available_resources_per_node()  # noqa: SLF001 - public ways need the dashboard
        self.nodes = {node.id: node for node in _alive(self.device, self.units_per_process)}
        return before - set(self.nodes)

    @property
    def summary(self) -> str:
        """How this process came to the cluster, and what that has, in one line."""
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
        """The types of cards that processes may find themselves on."""
        return {node.card for node in self.nodes.values() if node.room}

    def place(self, kind: Kind, avoid: Collection[str] = ()) -> list[Node] | None:
        """A node for each process of a worker of `kind`, where there is room now; the fullest that has it.

        Gangs stay on one node, or with `PACK` go over as few as possible.
        """
        nodes = sorted(self.able(kind.card), key=lambda node: (node.id in avoid, self._left(node), node.id))
        for node in nodes:
            if self._fits(kind.processes, node, self._left(node)):
                return [node] * kind.processes
        return self._spread(kind.processes, nodes, self._left) if self._may_spread else None

    def take(self, nodes: Sequence[Node]) -> dict[str, float]:
        """Mark the units of a worker as taken; returns them for `give_back`."""
        counts = Counter(node.id for node in nodes)
        rooms = {node.id: node.room for node in nodes}
        units = {
            id_: rooms[id_] if self._whole_node else count * self.units_per_process for id_, count in counts.items()
        }
        self.taken.update(units)
        return units

    def give_back(self, units: Mapping[str, float]) -> None:
        """Free what `take` took."""
        self.taken.subtract(units)

    def why_never(self, kind: Kind) -> str | None:
        """Why no node can ever hold a worker of `kind`; null where one can, or may still come."""
        reason = self._why_not(kind)
        if reason is None:
            self._without_room_since.pop(kind, None)
            return None
        since = self._without_room_since.setdefault(kind, time.monotonic())
        if time.monotonic() - since < self.wait_for_nodes_s:
            return None
        waited = f", and none came in {self.wait_for_nodes_s:g} s" if self.wait_for_nodes_s else ""
        return reason + waited

    def has_room_now(self, nodes: Sequence[Node]) -> bool:
        """Whether Ray could start a worker's processes on these nodes, whoever else uses them; as of `refresh`."""
        return all(
            self._free.get(id_, {}).get("GPU", 0.0) + _ROUNDING >= processes * self.units_per_process
            and self._free.get(id_, {}).get("CPU", 0.0) >= processes * CPUS_PER_PROCESS
            for id_, processes in Counter(node.id for node in nodes).items()
        )

    @property
    def waits_for_nodes(self) -> bool:
        """Whether a kind of worker waits for nodes to come: `why_never` must be asked again later."""
        return bool(self._without_room_since)

    def ask_for(self, kinds: Mapping[Kind, int]) -> None:
        """Tell Ray's autoscaler how many workers of each kind could be used, or that none are any more.

        Processes go only where room is known, so Ray itself never sees that more nodes would help. Nothing is asked
        unless the sweep waits for nodes: a fixed cluster has no autoscaler.
        """
        if self.wait_for_nodes_s:
            bundles = (self._bundle(kind) for kind, count in kinds.items() for _ in range(min(count, _ASKED_AT_ONCE)))
            request_resources(bundles=list(bundles)[:_ASKED_AT_ONCE])

    def _bundle(self, kind: Kind) -> dict[str, float]:
        """What one worker takes up, in whole GPUs as the autoscaler wants it."""
        bundle: dict[str, float] = {"CPU": kind.processes * CPUS_PER_PROCESS}
        if self.units_per_process:
            bundle["GPU"] = math.ceil(kind.processes * self.units_per_process - _ROUNDING)
        if kind.card:
            bundle[_CARD + kind.card] = 0.001  # Ray gives each node 1 of its card's name
        return bundle

    def _why_not(self, kind: Kind) -> str | None:
        nodes = self.able(kind.card)
        if any(self._fits(kind.processes, node, node.room) for node in nodes):
            return None
        if self._may_spread and self._spread(kind.processes, nodes, lambda node: node.room):
            return None
        plural = "es" if kind.processes > 1 else ""
        together = "" if self._may_spread else " on one node"
        what = f"{kind.processes} process{plural}{together}" + (f" with {kind.card}" if kind.card else "")
        room = "; ".join(sorted({_room(node) for node in self.nodes.values()})) or "no node at all"
        aside = f"; gets no more runs: {', '.join(sorted(self.set_aside.values()))}" if self.set_aside else ""
        return f"the cluster cannot hold {what}: it has {room}{aside}"

    @property
    def _whole_node(self) -> bool:
        """Whether a worker has its node for itself: asked for, or measuring on the CPU."""
        return self.exclusive_node or self.units_per_process == 0

    @property
    def _may_spread(self) -> bool:
        return self.strategy == "PACK" and not self._whole_node

    def able(self, card: str | None) -> list[Node]:
        """Nodes that may hold processes on this type of card (null: any), full or not."""
        return [
            node
            for node in self.nodes.values()
            if node.room > 0 and node.id not in self.set_aside and card in (None, node.card)
        ]

    def _left(self, node: Node) -> float:
        return node.room - self.taken[node.id]

    def _fits(self, processes: int, node: Node, left: float) -> bool:
        need = node.room if self._whole_node else processes * self.units_per_process
        enough = processes * CPUS_PER_PROCESS <= node.cpus
        return enough and max(need, processes * self.units_per_process) <= left + _ROUNDING

    def _spread(self, processes: int, nodes: Sequence[Node], left: Callable[[Node], float]) -> list[Node] | None:
        """The emptiest nodes first, until every process has one."""
        found: list[Node] = []
        for node in sorted(nodes, key=left, reverse=True):
            found += [node] * int(left(node) / self.units_per_process + _ROUNDING)
        return found[:processes] if len(found) >= processes else None


def _room(node: Node) -> str:
    cards = f"{node.gpus:g} x {node.card or 'GPU'}, " if node.gpus else ""
    return f"{node.host}: {cards}{node.cpus:g} CPUs"


def connect(sweep: SweepConfig) -> Cluster:
    """Join the cluster that RAY_ADDRESS or a `ray start` on this host names, or start one here.

    Raises:
        ClusterError: It cannot be joined, or none can be started.
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
        said = "no node of the cluster names its type of card, so there is nothing to make rows for"
        raise SweepError([Problem(("placement", "one_row_per_card"), said)], sweep.origin)
    return cluster


def _joined_or_started() -> str:
    """Join a cluster or start one; returns which, in words."""
    joins = address.checked()
    plain = {} if sys.stdout.isatty() else {"RAY_COLOR_PREFIX": "0"}  # a log file shows the codes of colours
    os.environ.update(_RAY_SETTINGS | plain | os.environ)
    # Ray warns at every start that its own default, token authentication, is on.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    # A node that is joined was started with its own settings; as a runtime environment, they cost 0.7 s per process.
    runtime_env = {"env_vars": _PRIORITY} if joins else None
    try:
        ray.init(include_dashboard=False, log_to_driver=True, logging_level="warning", runtime_env=runtime_env)
    except (OSError, RuntimeError, ValueError) as error:
        what = f"join the Ray cluster at {joins}" if joins else "start Ray on this machine"
        raise ClusterError(f"cannot {what}: {one_line(str(error)) or type(error).__name__}") from error
    atexit.register(_leave)
    if joins:
        return f"joined the Ray cluster at {joins} (named by {address.source()})"
    return "started a Ray of its own on this machine"


def _leave() -> None:
    """Leave the cluster, and end it where it was started here, before Ray does so at exit.

    Ray's own way takes 2 s: a pause for the last log lines, which are here by now, and the second that it gives its
    autoscaler to react. Where the cluster is gone, it would block: then this process ends at once.
    """
    node = ray._private.worker._global_node  # noqa: SLF001 - there is no other way to it
    if watch.lost():
        with contextlib.suppress(Exception):  # whatever goes wrong now, the exit code is what it is
            node.kill_all_processes(check_alive=False, allow_graceful=False)
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(watch.LOST_EXIT_CODE)
    with contextlib.suppress(AttributeError):
        node.kill_monitor(check_alive=False)
    ray.shutdown()


def logs_folder() -> str:
    """Where Ray keeps the logs of its processes, on every node."""
    return str(ray._private.worker._global_node.get_logs_dir_path())  # noqa: SLF001 - as above


def driver_is_on_head() -> bool:
    """Whether this process runs on the cluster's head node, whose disk outlives the job."""
    here = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == here and HEAD in node["Resources"] for node in ray.nodes())


def has_begun(actor: Any) -> bool:
    """Whether Ray has found a place for the actor and started its process; an actor that is gone has, too."""
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
            room=_units(device, units_per_process, cpus=cpus, gpus=gpus),
            cpus=cpus,
            gpus=gpus,
        )


def _units(device: str, units_per_process: float, *, cpus: float, gpus: float) -> float:
    """Room of a node. A process without a CPU of its own would wait for one for ever, whatever GPUs are free."""
    if units_per_process:
        return min(gpus, cpus // CPUS_PER_PROCESS * units_per_process)
    # On the CPU, two measurements on one node would slow each other: one lane each.
    return float(device == "cpu" and cpus > 0)
