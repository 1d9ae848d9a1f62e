"""The workers of a sweep: opened where there is capacity, fed one run at a time, closed when idle."""

import logging
import time
from collections import Counter
from collections.abc import Collection
from functools import partial
from typing import Any

from orchestrator.config import SweepConfig
from orchestrator.schedule.backlog import Backlog, shape_of
from orchestrator.schedule.cluster import Cluster
from orchestrator.schedule.preparation import Preparation
from orchestrator.schedule.retries import Retries
from orchestrator.schedule.worker import Worker
from orchestrator.support import unsupported
from workers.records import Run

log = logging.getLogger("joulegrid")


class Pool:
    """The workers, and which run each gets.

    Args:
        cluster: Where workers are opened.
        backlog: The runs, none of them begun.
        preparation: Which models are ready, and which nodes have their weights.
        retries: The nodes where runs were lost; another node is tried first.
        sweep: Sets the name and the time-out.
        texts: Ray's reference to the sweep's texts.
    """

    def __init__(
        self,
        cluster: Cluster,
        backlog: Backlog,
        preparation: Preparation,
        retries: Retries,
        *,
        sweep: SweepConfig,
        texts: Any,
    ) -> None:
        self._cluster = cluster
        self._backlog = backlog
        self._preparation = preparation
        self._retries = retries
        self._sweep = sweep
        self._texts = texts
        self._workers: list[Worker] = []
        self._cut_off: list[Worker] = []
        """Workers lost while the cluster did not answer, to be closed once it does."""

    @property
    def busy(self) -> bool:
        """Whether any worker is on a run."""
        return any(worker.busy for worker in self._workers)

    @property
    def busy_share(self) -> float:
        """Share of the cluster's capacity (GPUs, or CPU lanes) that is on a run right now; 0 to 1."""
        capacity = sum(node.capacity for node in self._cluster.nodes.values())
        return sum(worker.units for worker in self._workers if worker.busy) / capacity if capacity else 0.0

    @property
    def pending(self) -> dict[Any, Worker]:
        """Ray's references to what the workers have not delivered yet, with their workers."""
        return {ref: worker for worker in self._workers for ref in worker.refs}

    @property
    def next_deadline(self) -> float:
        """When the next worker will be overdue, on the monotonic clock. Unit: s."""
        return min((worker.deadline for worker in self._workers), default=float("inf"))

    def overdue(self) -> list[Worker]:
        """Workers whose deadline has passed."""
        now = time.monotonic()
        return [worker for worker in self._workers if worker.deadline <= now]

    def feed(self) -> None:
        """Give each idle worker its next run; close those for which none is left, since others may need their units."""
        if not self._preparation.may_measure:
            return
        for worker in [worker for worker in self._workers if worker.idle]:
            if _is_on(worker, self._cluster.quarantined):
                self.close(worker)
                continue
            run = self._backlog.take(worker.shape, loaded=worker.loaded, fits=partial(self._fits, worker))
            if run is not None:
                worker.start(run, attempt=self._retries.next_attempt(run), timeout_s=self._sweep.timeout_s)
            elif worker.shape not in self._backlog.shapes() and not self._preparation.in_progress:
                self.close(worker)

    def open_workers(self) -> None:
        """Open workers where there is capacity, as long as there are more runs than starting workers.

        They start while the first models are being prepared: both take seconds to import their libraries.
        """
        while self._cut_off:
            self._cut_off.pop().close()
        while self._open_one():
            pass

    def _open_one(self) -> bool:
        """Open a worker of the shape that needs one most and has capacity; returns whether one was opened.

        Idle workers have just been offered every run and can take none of them; they count as starting only while
        models are being prepared. Workers that other jobs keep waiting do not count: they may never start.
        """
        workers = Counter(worker.shape for worker in self._workers)
        preparing = self._preparation.in_progress
        starting = Counter(
            worker.shape
            for worker in self._workers
            if not worker.busy and not worker.kept_waiting and (preparing or not worker.idle)
        )
        runs = self._backlog.expected()
        for shape in self._backlog.by_need(workers):
            if starting[shape] < runs[shape] and (nodes := self._cluster.place(shape, self._retries.all_nodes)):
                self._workers.append(Worker(shape, nodes, self._cluster, sweep=self._sweep.name, texts=self._texts))
                return True
        return False

    def close(self, worker: Worker) -> None:
        """End a worker's processes, and free their units."""
        worker.close()
        self._workers.remove(worker)

    def cut_off(self, worker: Worker) -> None:
        """Keep a worker that was lost while the cluster did not answer, until it can be closed."""
        self._workers.remove(worker)
        self._cut_off.append(worker)

    def close_all(self) -> None:
        """End every process."""
        for worker in self._workers:
            worker.close()

    def refresh(self) -> None:
        """Check which workers wait for resources that other jobs of the cluster use."""
        for worker in self._workers:
            if worker.refresh():
                log.warning("a process on %s waits for GPUs or CPUs that other jobs of the cluster use", worker.host)

    def _fits(self, worker: Worker, run: Run) -> bool:
        """Whether this worker can take the run, and the run was not lost here if it can be tried elsewhere."""
        if worker.hardware is None or unsupported(run.cell, worker.hardware):
            return False
        if not self._preparation.has_weights(run, worker.nodes):
            return False
        return not _is_on(worker, self._retries.nodes(run)) or not self._can_go_elsewhere(run)

    def _can_go_elsewhere(self, run: Run) -> bool:
        """Whether a worker that can take the run exists, or can be opened, on a node where it was not lost."""
        shape, avoid = shape_of(run), self._retries.nodes(run)
        if (nodes := self._cluster.place(shape, avoid)) and not {node.id for node in nodes} & avoid:
            return True
        return any(
            other.shape == shape
            and not _is_on(other, avoid | self._cluster.quarantined.keys())
            and not (other.hardware and unsupported(run.cell, other.hardware))
            for other in self._workers
        )


def _is_on(worker: Worker, nodes: Collection[str]) -> bool:
    return any(node.id in nodes for node in worker.nodes)
