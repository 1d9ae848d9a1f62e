"""The event loop: it feeds workers, opens more, takes in what they deliver, and ends those that hang.

It waits in `ray.wait`, so that the driver does not keep a core busy beside an energy measurement. Each handler returns
the outcomes of the runs that ended by its event.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import ray

from orchestrator.config import SweepConfig
from orchestrator.schedule import faults
from orchestrator.schedule.backlog import Backlog
from orchestrator.schedule.cluster import Cluster, Node
from orchestrator.schedule.endings import Endings
from orchestrator.schedule.pool import Pool
from orchestrator.schedule.preparation import Preparation
from orchestrator.schedule.watch import Watch
from orchestrator.schedule.worker import START_TIMEOUT_S, Busy, Worker
from workers.records import Outcome, ProcessFailure, RawProcessResult

_REFRESH_S = 5.0
"""How often the loop asks which nodes are alive. Unit: s."""

_SLEEP_S = 1.0
"""How long the loop sleeps at most before it checks whether to stop. Unit: s."""

_COUNTING_SLEEP_S = 0.02
"""How long it sleeps while FLOPs are being counted: `ray.wait` does not return when a count ends. Unit: s."""

log = logging.getLogger("joulegrid")


class Loop:
    """One sweep on one cluster.

    Args:
        cluster: The nodes.
        backlog: The runs, none of them begun.
        preparation: Releases a model's runs into the backlog when the model is prepared.
        pool: The workers.
        endings: Decides which runs end by an event.
        sweep: Sets the time-out, and whether processes are used again.
        watch: Checks that the cluster is still there.
        stop: Whether to end early: delivered results are taken in, running processes are killed, nothing more begins.
    """

    def __init__(
        self,
        cluster: Cluster,
        backlog: Backlog,
        preparation: Preparation,
        *,
        pool: Pool,
        endings: Endings,
        sweep: SweepConfig,
        watch: Watch,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._cluster = cluster
        self._backlog = backlog
        self._preparation = preparation
        self._pool = pool
        self._endings = endings
        self._sweep = sweep
        self._watch = watch
        self._stop = stop
        self._refreshed = time.monotonic()

    def outcomes(self) -> Generator[Outcome]:
        """Every run's outcome, as runs end.

        Raises:
            ClusterLost: The cluster is gone.
        """
        try:
            for outcome in self._until_all_ended():
                with self._watch.delivering():
                    yield outcome
        except Exception:
            self._watch.check_reachable()
            self._watch.raise_if_lost()  # if the cluster is lost, that is the cause of the error
            raise
        finally:
            if self._watch.answers:
                self._preparation.cancel()
                self._cluster.ask_for({})
                self._pool.close_all()

    def _until_all_ended(self) -> Iterator[Outcome]:
        yield from self._endings.without_capacity()
        while self._backlog or self._pool.busy:
            if self._stop():
                yield from self._collect(wait_s=0.0)
                return
            self._watch.raise_if_lost()
            self._pool.feed()
            if self._watch.answers:
                self._pool.open_workers()
            yield from self._collect()
            if self._watch.answers:
                yield from self._end_overdue()
                yield from self._refresh()

    def _collect(self, wait_s: float = _SLEEP_S) -> list[Outcome]:
        """Wait for a delivery, then take in all that have arrived."""
        if counted := self._preparation.counted:
            return self._endings.not_begun(self._preparation.settle_counts(counted, self._backlog))
        if self._preparation.counts:
            wait_s = min(wait_s, _COUNTING_SLEEP_S)
        pending = self._pool.pending
        refs = [*pending, *self._preparation.refs]
        if not refs:  # only the end of a count or a new node can help: see `_refresh`
            time.sleep(wait_s)
            return []
        if self._watch.answers:  # until it does, an overdue worker cannot be ended
            wait_s = max(0.0, min(wait_s, self._pool.next_deadline - time.monotonic()))
        if not ray.wait(refs, timeout=wait_s, fetch_local=False)[0]:
            return []
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        return [outcome for ref in ready for outcome in self._delivered(ref, pending.get(ref))]

    def _delivered(self, ref: Any, worker: Worker | None) -> list[Outcome]:
        """Take in one delivery: a fetch of weights, or a rank's part of a run."""
        if worker is None:
            return self._endings.not_begun(self._preparation.settle(ref, self._backlog))
        if ref not in worker.refs:  # another rank of its gang has just ended it
            return []
        rank = worker.refs[ref]
        try:
            failed = worker.settle(ref)
        except Exception as error:
            return self._died(worker, error, rank)
        if worker.busy:
            return self._finished(worker) if failed or not worker.refs else []
        if worker.idle and worker.hardware:
            return self._endings.hardware_found(worker.nodes[0].card, worker.hardware)
        return []

    def _finished(self, worker: Worker) -> list[Outcome]:
        """The last rank has delivered, or one has failed."""
        unfinished = bool(worker.refs)  # the other ranks would wait for the failed one for ever
        busy = worker.busy
        assert busy is not None
        results, failure, reusable, printed = worker.finish()
        self._endings.retries.printed(busy.run, printed)
        if failure is not None and failure.status == "lost":  # its GPU failed, or another rank is gone
            self._pool.close(worker)
            return self._lost(busy, results, failure, worker.nodes[failure.rank or 0])
        self._endings.delivered(worker.nodes)
        if worker.changes:
            changes = "; ".join(sorted(worker.changes))
            log.warning("%s left its process on %s changed, so it is replaced: %s", busy.run.key, worker.host, changes)
        if unfinished or not reusable or self._sweep.isolation == "fresh":
            self._pool.close(worker)
        return self._endings.ended(busy.run, results, failure)

    def _died(self, worker: Worker, error: Exception, rank: int | None) -> list[Outcome]:
        """A process or its node is gone: the whole gang ends, and the run is tried again if the limit allows."""
        node, busy = worker.nodes[rank or 0], worker.busy
        if not self._watch.check_reachable():  # not the run's fault: it starts again if the cluster comes back
            self._pool.cut_off(worker)
            if busy is not None:
                self._backlog.put(busy.run, self._preparation.run_times(busy.run))
            return []
        self._pool.close(worker)
        if busy is None:
            return self._endings.failed_to_start(node, faults.first_line(error))
        failure = faults.failure(busy.run, error, host=node.host, attempt=busy.attempt, rank=rank)
        return self._killed(worker, busy, failure, node)

    def _killed(self, worker: Worker, busy: Busy, failure: ProcessFailure, node: Node) -> list[Outcome]:
        """The run ends with `failure` and what its ranks had delivered, or is tried again if it was lost."""
        results, _, _, printed = worker.finish()
        self._endings.retries.printed(busy.run, printed)
        if failure.status == "lost":
            return self._lost(busy, results, failure, node)
        return self._endings.ended(busy.run, results, failure)

    def _lost(
        self, busy: Busy, results: Sequence[RawProcessResult], failure: ProcessFailure, node: Node
    ) -> list[Outcome]:
        self._refreshed = float("-inf")  # the whole node may be gone: check now
        return self._endings.lost(busy, results, failure, node)

    def _end_overdue(self) -> list[Outcome]:
        """Kill workers that are overdue, unless they have delivered while the driver was busy."""
        outcomes = []
        for worker in self._pool.overdue():
            if ray.wait([*worker.refs], timeout=0, fetch_local=False)[0]:
                continue  # the next `_collect` takes it in
            busy = worker.busy
            if busy is None:
                late = TimeoutError(f"it did not start within {START_TIMEOUT_S:g} s")
                outcomes += self._died(worker, late, None)
                continue
            self._pool.close(worker)
            failure = faults.timed_out(busy.run, self._sweep.timeout_s, host=worker.host, attempt=busy.attempt)
            outcomes += self._killed(worker, busy, failure, worker.nodes[0])
        return outcomes

    def _refresh(self) -> list[Outcome]:
        """Ask every few seconds which nodes are alive."""
        if time.monotonic() - self._refreshed < _REFRESH_S:
            return []
        self._refreshed = time.monotonic()
        gone = self._cluster.refresh()
        self._preparation.refresh()
        self._pool.refresh()
        return self._endings.without_capacity() if gone or self._cluster.waits_for_nodes else []
