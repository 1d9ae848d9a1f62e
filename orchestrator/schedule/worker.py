"""A worker on the driver's side: one actor, or a gang of them in a placement group, and the run that it is on."""

import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from orchestrator.schedule.backlog import WorkerShape
from orchestrator.schedule.cluster import CPUS_PER_PROCESS, Cluster, Node, has_started
from workers.actor import RemoteActor
from workers.machine.output import printed
from workers.records import Hardware, ProcessFailure, RawProcessResult, Ready, Reply, Run

START_TIMEOUT_S = 300.0
"""Processes that take longer to start are given up, and count as a failure of their node. Unit: s."""

_PLACED_WITHIN_S = 10.0
"""Ray starts a process within this time if its resources are free. Unit: s."""


@dataclass
class Busy:
    """The run that a worker is on."""

    run: Run
    attempt: int
    deadline: float
    replies: dict[int, Reply] = field(default_factory=dict)


class Ended(NamedTuple):
    """How a run ended on all ranks."""

    results: tuple[RawProcessResult, ...]
    """In rank order."""
    failure: ProcessFailure | None
    """A rank's failure; null if none failed."""
    reusable: bool
    """Whether the processes are fit for another run."""
    printed: str
    """What they printed during the run."""


class Worker:
    """Processes that are fed runs, one at a time.

    Args:
        shape: Number of processes, how they split a model, the card, and the engine.
        nodes: The node of each process.
        cluster: Its units are taken by the processes until `close`.
        sweep: The sweep's name; the actors' names begin with it.
        texts: Ray's reference to the texts of the sweep's files, by their SHA-256.
    """

    def __init__(self, shape: WorkerShape, nodes: Sequence[Node], cluster: Cluster, *, sweep: str, texts: Any) -> None:
        self.shape = shape
        self.nodes = tuple(nodes)
        self.loaded: str | None = None
        self.busy: Busy | None = None
        self.changes: set[str] = set()
        """What the last run changed in its processes; see `workers.machine.process_state`."""
        self.hardware: Hardware | None = None
        self._ready: dict[int, Ready] = {}
        self._made = time.monotonic()
        self.deadline = self._made + START_TIMEOUT_S
        self.kept_waiting = False
        """Whether it waits for resources that other jobs of the cluster use; see `refresh`."""
        self.refs: dict[Any, int] = {}
        """Ray's references to what the ranks have not delivered yet, with their ranks."""
        self._cluster = cluster
        self._units = cluster.take(nodes)
        self._group = _group(nodes, cluster) if shape.processes > 1 else None
        # Ray refuses a name that is in use, and other sweeps may share the namespace.
        self._name = f"{sweep}-{uuid.uuid4().hex[:8]}"
        self._actors = [self._actor(rank) for rank in range(shape.processes)]
        self._prepare(texts)

    @property
    def idle(self) -> bool:
        """Whether it has started and has nothing to do."""
        return self.busy is None and not self.refs

    @property
    def units(self) -> float:
        """Units that its processes take."""
        return sum(self._units.values())

    @property
    def host(self) -> str:
        """Host of rank 0, for messages."""
        return self.nodes[0].host

    def refresh(self) -> bool:
        """Check whether the processes wait for resources that other jobs use; returns whether this has just begun.

        They then start when those jobs end, and do not count as a failure of their node.
        """
        before, self.kept_waiting = self.kept_waiting, self._is_kept_waiting()
        if self.kept_waiting:
            self.deadline = time.monotonic() + START_TIMEOUT_S
        return self.kept_waiting and not before

    def _is_kept_waiting(self) -> bool:
        if self.busy or not self.refs or time.monotonic() - self._made < _PLACED_WITHIN_S:
            return False
        return not all(map(has_started, self._actors)) and not self._cluster.has_capacity_now(self.nodes)

    def start(self, run: Run, *, attempt: int, timeout_s: float) -> None:
        """Start a run on every rank."""
        self.busy = Busy(run, attempt, time.monotonic() + timeout_s)
        self.deadline = self.busy.deadline
        self.loaded = run.cell.load_key
        sent = run.model_dump_json()
        self.refs = {actor.run.remote(sent, attempt): rank for rank, actor in enumerate(self._actors)}

    def settle(self, ref: Any) -> bool:
        """Take in what one rank has delivered; returns whether it was a failure.

        Raises:
            Exception: Ray's own, if the process or its node is gone.
        """
        rank = self.refs.pop(ref)
        delivered = ray.get(ref)
        if self.busy:
            reply = self.busy.replies[rank] = Reply.model_validate_json(delivered)
            return isinstance(reply.result, ProcessFailure)
        if delivered is not None:  # `prepare` returns a `Ready`, `join` nothing
            self._ready[rank] = Ready.model_validate_json(delivered)
            self.hardware = self._ready[rank].hardware
        if not self.refs:
            self.deadline = float("inf")
        return False

    def finish(self) -> Ended:
        """End the run, with what the ranks have delivered so far."""
        assert self.busy is not None
        replies = [self.busy.replies[rank] for rank in sorted(self.busy.replies)]
        results = tuple(reply.result for reply in replies if isinstance(reply.result, RawProcessResult))
        failures = [reply.result for reply in replies if isinstance(reply.result, ProcessFailure)]
        # If one rank runs out of memory, the failures of the others are only its consequence.
        failures.sort(key=lambda failure: failure.status != "oom")
        printed = "".join(self._printed(self.busy, rank) for rank in range(self.shape.processes))
        self.busy, self.deadline = None, float("inf")
        self.changes = {change for reply in replies for change in reply.changes}
        return Ended(results, failures[0] if failures else None, all(reply.reusable for reply in replies), printed)

    def _printed(self, busy: Busy, rank: int) -> str:
        """What a rank printed. For a rank that was killed: its output on this host, or where it is on another."""
        ready = self._ready.get(rank)
        if rank in busy.replies:
            text = busy.replies[rank].printed
        elif ready is None:
            text = ""
        elif ready.host == socket.gethostname():
            text = printed(ready.output_files, busy.run.key)
        else:
            text = f"the output of the process is on {ready.host}: {', '.join(ready.output_files)}\n"
        return f"=== rank {rank}\n{text}" if text and self.shape.processes > 1 else text

    def close(self) -> None:
        """End the processes, whatever they are doing: `ray.kill` also ends those that hang or are stopped."""
        if self._group is not None:
            remove_placement_group(self._group)
        for actor in self._actors:
            ray.kill(actor, no_restart=True)
        self.refs.clear()
        self._cluster.give_back(self._units)
        self._units = {}

    def _actor(self, rank: int) -> Any:
        strategy: Any = NodeAffinitySchedulingStrategy(self.nodes[rank].id, soft=False)
        if self._group is not None:
            strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=rank)
        return RemoteActor.options(
            name=f"{self._name}-{rank}",
            num_cpus=CPUS_PER_PROCESS,
            num_gpus=self._cluster.units_per_process,
            scheduling_strategy=strategy,
        ).remote(self.shape.engine, rank, self.shape.processes, self.shape.tensor_parallel)

    def _prepare(self, texts: Any) -> None:
        self.refs = {actor.prepare.remote(texts): rank for rank, actor in enumerate(self._actors)}
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
