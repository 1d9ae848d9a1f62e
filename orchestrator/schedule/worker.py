"""A worker as the driver holds it: one actor, or a gang of them in a placement group, and the run it is busy with."""

import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from orchestrator.backlog import Kind
from orchestrator.hardware import Hardware
from orchestrator.schedule.cluster import CPUS_PER_PROCESS, Cluster, Node, has_begun
from workers.actor import Greeting, Measures, RemoteActor, Reply
from workers.output import printed
from workers.records import InferenceCost, ProcessFailure, RawProcessResult, Run

START_TIMEOUT_S = 300.0
"""Processes that have not started by then never will: that counts as a loss of their node."""

_PLACED_WITHIN_S = 10.0
"""Processes whose place is free have begun by then."""


@dataclass(frozen=True, kw_only=True)
class Equipment:
    """What every actor is given when it is made."""

    sweep: str
    """The actors' names begin with it."""
    make: Callable[[], Measures]
    texts: Any  # an ObjectRef of Mapping[str, Sequence[str]]


@dataclass
class Busy:
    """A run that a worker is on."""

    run: Run
    attempt: int
    deadline: float
    replies: dict[int, Reply] = field(default_factory=dict)


class Ended(NamedTuple):
    """What a run came to on all ranks."""

    results: tuple[RawProcessResult, ...]
    """In rank order."""
    failure: ProcessFailure | None
    """If a rank had one."""
    reusable: bool
    """Whether the processes are fit for another run."""
    printed: str
    """What they printed meanwhile."""


class Worker:
    """Processes that are fed runs, one at a time.

    Args:
        kind: How many processes, how they split a model, and on which card.
        nodes: The node of each process.
        cluster: Whose units the processes take up until `close`.
    """

    def __init__(self, kind: Kind, nodes: Sequence[Node], cluster: Cluster, equipment: Equipment) -> None:
        self.kind = kind
        self.nodes = tuple(nodes)
        self.loaded: str | None = None
        self.busy: Busy | None = None
        self.changes: set[str] = set()
        """What the last run left changed in its processes; see `workers.process_state`."""
        self.hardware: Hardware | None = None
        self._greetings: dict[int, Greeting] = {}
        self._made = time.monotonic()
        self.deadline = self._made + START_TIMEOUT_S
        self.kept_waiting = False
        """Whether other jobs of the cluster hold its place; see `look_round`."""
        self.refs: dict[Any, int] = {}
        """What this worker still owes, with the rank that owes it."""
        self._cluster = cluster
        self._units = cluster.take(nodes)
        self._group = _group(nodes, cluster) if kind.processes > 1 else None
        # Ray refuses a name that is taken, and other sweeps may share the namespace.
        self._name = f"{equipment.sweep}-{uuid.uuid4().hex[:8]}"
        self._actors = [self._actor(rank, cluster, equipment) for rank in range(kind.processes)]
        self._greet(equipment)

    @property
    def idle(self) -> bool:
        """Whether it has started and nothing to do."""
        return self.busy is None and not self.refs

    @property
    def units(self) -> float:
        """Room that it takes up."""
        return sum(self._units.values())

    @property
    def host(self) -> str:
        """Host of rank 0, for messages."""
        return self.nodes[0].host

    def look_round(self) -> bool:
        """See whether other jobs of the cluster hold the place of these processes; returns whether that is news.

        Then they begin when those jobs end: no node is to blame.
        """
        before, self.kept_waiting = self.kept_waiting, self._is_kept_waiting()
        if self.kept_waiting:
            self.deadline = time.monotonic() + START_TIMEOUT_S
        return self.kept_waiting and not before

    def _is_kept_waiting(self) -> bool:
        if self.busy or not self.refs or time.monotonic() - self._made < _PLACED_WITHIN_S:
            return False
        return not all(map(has_begun, self._actors)) and not self._cluster.has_room_now(self.nodes)

    def start(
        self, run: Run, cost: InferenceCost | None, cost_reason: str | None, *, attempt: int, timeout_s: float
    ) -> None:
        """Begin a run on every rank."""
        self.busy = Busy(run, attempt, time.monotonic() + timeout_s)
        self.deadline = self.busy.deadline
        self.loaded = run.cell.load_key
        self.refs = {actor.run.remote(run, cost, cost_reason, attempt): rank for rank, actor in enumerate(self._actors)}

    def settle(self, ref: Any) -> bool:
        """Take in what one rank has delivered; returns whether that was a failure.

        Raises:
            Exception: What Ray raises where the process or its node is gone.
        """
        rank = self.refs.pop(ref)
        delivered = ray.get(ref)
        if self.busy:
            self.busy.replies[rank] = delivered
            return isinstance(delivered.result, ProcessFailure)
        if isinstance(delivered, Greeting):
            self.hardware = Hardware(**delivered.hardware)
            self._greetings[rank] = delivered
        if not self.refs:
            self.deadline = float("inf")
        return False

    def finish(self) -> Ended:
        """End the run: what the ranks have delivered until now."""
        assert self.busy is not None
        replies = [self.busy.replies[rank] for rank in sorted(self.busy.replies)]
        results = tuple(reply.result for reply in replies if isinstance(reply.result, RawProcessResult))
        failures = [reply.result for reply in replies if isinstance(reply.result, ProcessFailure)]
        # One rank that runs out of memory makes the others fail in ways that only say so.
        failures.sort(key=lambda failure: failure.status != "oom")
        printed = "".join(self._printed(self.busy, rank) for rank in range(self.kind.processes))
        self.busy, self.deadline = None, float("inf")
        self.changes = {change for reply in replies for change in reply.changes}
        return Ended(results, failures[0] if failures else None, all(reply.reusable for reply in replies), printed)

    def _printed(self, busy: Busy, rank: int) -> str:
        """What a rank printed; of one that was killed, what it left on this host, or where it lies on another."""
        greeting = self._greetings.get(rank)
        if rank in busy.replies:
            text = busy.replies[rank].printed
        elif greeting is None:
            text = ""
        elif greeting.host == socket.gethostname():
            text = printed(greeting.output_files, busy.run.key)
        else:
            text = f"what the process printed lies on {greeting.host}: {', '.join(greeting.output_files)}\n"
        return f"=== rank {rank}\n{text}" if text and self.kind.processes > 1 else text

    def close(self) -> None:
        """End the processes, whatever they are doing: `ray.kill` also ends one that is hung or stopped."""
        if self._group is not None:
            remove_placement_group(self._group)
        for actor in self._actors:
            ray.kill(actor, no_restart=True)
        self.refs.clear()
        self._cluster.give_back(self._units)
        self._units = {}

    def _actor(self, rank: int, cluster: Cluster, equipment: Equipment) -> Any:
        strategy: Any = NodeAffinitySchedulingStrategy(self.nodes[rank].id, soft=False)
        if self._group is not None:
            strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=rank)
        return RemoteActor.options(
            name=f"{self._name}-{rank}",
            num_cpus=CPUS_PER_PROCESS,
            num_gpus=cluster.units_per_process,
            scheduling_strategy=strategy,
        ).remote(equipment.make, rank, self.kind.processes, self.kind.tensor_parallel)

    def _greet(self, equipment: Equipment) -> None:
        self.refs = {actor.prepare.remote(equipment.texts): rank for rank, actor in enumerate(self._actors)}
        if len(self._actors) > 1:
            address = self._actors[0].serve.remote()
            self.refs |= {actor.join.remote(address): rank for rank, actor in enumerate(self._actors)}


def _group(nodes: Sequence[Node], cluster: Cluster) -> Any:
    """A placement group with a bundle per rank, each pinned to the node that was chosen for it."""
    bundle: dict[str, float] = {"CPU": CPUS_PER_PROCESS}
    if cluster.units_per_process:
        bundle["GPU"] = cluster.units_per_process
    return placement_group(
        [bundle] * len(nodes),
        strategy=cluster.strategy,
        bundle_label_selector=[{"ray.io/node-id": node.id} for node in nodes],
    )
