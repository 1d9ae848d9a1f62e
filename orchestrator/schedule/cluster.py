"""The cluster as the schedule sees it: nodes with room for processes, and who holds what.

The driver chooses each process's node itself. So it knows where a run was when a node dies, can try elsewhere, and
never asks Ray for what no node has (Ray would wait for it for ever).
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import ray

from orchestrator.backlog import Kind
from orchestrator.config import SweepConfig

HEAD = "node:__internal_head__"
CPUS_PER_PROCESS = 1
_CARD = "accelerator_type:"
_ROUNDING = 1e-9  # shares of a GPU such as 1/3 do not add up exactly


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


@dataclass
class Cluster:
    """Nodes, the units taken on each, and the nodes that are set aside."""

    device: str
    """`cuda` or `cpu`: what `auto` came to."""
    units_per_process: float
    exclusive_node: bool
    strategy: str
    nodes: dict[str, Node] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    set_aside: dict[str, str] = field(default_factory=dict)
    """Nodes that failed again and again: id -> host."""

    def refresh(self) -> set[str]:
        """Ask Ray which nodes live; returns the ids of those that are gone."""
        before = set(self.nodes)
        self.nodes = {node.id: node for node in _alive(self.device, by_gpu=self.units_per_process > 0)}
        return before - set(self.nodes)

    @property
    def cards(self) -> set[str | None]:
        """The types of cards that processes may find themselves on."""
        return {node.card for node in self.nodes.values() if node.room}

    def place(self, kind: Kind, avoid: Collection[str] = ()) -> list[Node] | None:
        """A node for each process of a worker of `kind`, where there is room now; the fullest that has it.

        Gangs stay on one node, or with `PACK` go over as few as possible.
        """
        nodes = sorted(self._able(kind[1]), key=lambda node: (node.id in avoid, self._left(node), node.id))
        for node in nodes:
            if self._fits(kind[0], node, self._left(node)):
                return [node] * kind[0]
        return self._spread(kind[0], nodes, self._left) if self._may_spread else None

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
        """Why no node of this cluster can ever hold a worker of `kind`; null where one can."""
        nodes = self._able(kind[1])
        if any(self._fits(kind[0], node, node.room) for node in nodes):
            return None
        if self._may_spread and self._spread(kind[0], nodes, lambda node: node.room):
            return None
        what = f"{kind[0]} process{'es' if kind[0] > 1 else ''} on one node" + (f" with {kind[1]}" if kind[1] else "")
        room = "; ".join(sorted({_room(node) for node in self.nodes.values()})) or "no node at all"
        aside = f"; set aside: {', '.join(sorted(self.set_aside.values()))}" if self.set_aside else ""
        return f"the cluster cannot hold {what}: it has {room}{aside}"

    @property
    def _whole_node(self) -> bool:
        """Whether a worker has its node for itself: asked for, or measuring on the CPU."""
        return self.exclusive_node or self.units_per_process == 0

    @property
    def _may_spread(self) -> bool:
        return self.strategy == "PACK" and not self._whole_node

    def _able(self, card: str | None) -> list[Node]:
        return [
            node
            for node in self.nodes.values()
            if node.room > 0 and node.id not in self.set_aside and card in (None, node.card)
        ]

    def _left(self, node: Node) -> float:
        return node.room - self.taken[node.id]

    def _fits(self, processes: int, node: Node, left: float) -> bool:
        need = node.room if self._whole_node else processes * self.units_per_process
        enough = processes * self.units_per_process <= node.room and processes * CPUS_PER_PROCESS <= node.cpus
        return enough and need <= left + _ROUNDING

    def _spread(self, processes: int, nodes: Sequence[Node], left: Callable[[Node], float]) -> list[Node] | None:
        """The emptiest nodes first, until every process has one."""
        found: list[Node] = []
        for node in sorted(nodes, key=left, reverse=True):
            found += [node] * int(left(node) / self.units_per_process + _ROUNDING)
        return found[:processes] if len(found) >= processes else None


def _room(node: Node) -> str:
    return f"{node.host}: {node.room:g} x {node.card or 'GPU'}, {node.cpus:g} CPUs"


def connect(sweep: SweepConfig) -> Cluster:
    """Join the cluster that RAY_ADDRESS or a `ray start` on this host names, or start one here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=True, logging_level="warning")
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
    )
    cluster.refresh()
    return cluster


def driver_is_on_head() -> bool:
    """Whether this process runs on the cluster's head node, whose disk outlives the job."""
    here = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == here and HEAD in node["Resources"] for node in ray.nodes())


def _alive(device: str, *, by_gpu: bool) -> list[Node]:
    found = []
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        resources = node["Resources"]
        card = next((name.removeprefix(_CARD) for name in resources if name.startswith(_CARD)), None)
        cpus = resources.get("CPU", 0.0)
        # On the CPU, two measurements on one node would slow each other: one lane each.
        room = resources.get("GPU", 0.0) if by_gpu else float(device == "cpu" and cpus > 0)
        found.append(Node(id=node["NodeID"], host=node["NodeManagerHostname"], card=card, room=room, cpus=cpus))
    return found
