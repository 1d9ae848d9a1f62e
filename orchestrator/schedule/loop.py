"""The one event loop: open workers, feed them, take in what they deliver, end what hangs.

It waits in `ray.wait`, so that the driver does not burn a core beside an energy measurement.
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Generator, Iterator
from functools import partial
from typing import Any

import ray

from orchestrator.backlog import Backlog, kind_of
from orchestrator.config import SweepConfig
from orchestrator.hardware import Hardware, impossible
from orchestrator.schedule import faults
from orchestrator.schedule.blame import Blame
from orchestrator.schedule.cluster import Cluster, Node, logs_folder
from orchestrator.schedule.prepare import Preparation
from orchestrator.schedule.watch import Watch
from orchestrator.schedule.worker import START_TIMEOUT_S, Busy, Equipment, Worker
from workers.records import Outcome, ProcessFailure, RawProcessResult, Run
from workers.redact import redacted

_LOOK_ROUND_S = 5.0
"""How often the loop asks which nodes live."""

_SLEEP_S = 1.0
"""How long the loop sleeps at most before it asks whether to stop."""

_GLANCE_S = 0.02
"""How long it sleeps while FLOPs are being counted, of which `ray.wait` does not hear."""

log = logging.getLogger("joulegrid")


class Loop:
    """One sweep on one cluster.

    Args:
        cluster: The nodes.
        backlog: The runs, none of them begun.
        preparation: Releases a model's runs into the backlog when the model is prepared.
        sweep: The bounds: time-outs, attempts, isolation.
        equipment: What the actors are made with.
        passed: Ids of the cells of which a repeat was ok before.
        watch: Whether the cluster is still there.
        stop: Whether to end early: what is delivered is taken in, what runs is killed, nothing more begins.
    """

    def __init__(
        self,
        cluster: Cluster,
        backlog: Backlog,
        preparation: Preparation,
        sweep: SweepConfig,
        equipment: Equipment,
        *,
        passed: Collection[str] = (),
        watch: Watch,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._cluster = cluster
        self._backlog = backlog
        self._preparation = preparation
        self._sweep = sweep
        self._equipment = equipment
        self._watch = watch
        self._stop = stop
        self._workers: list[Worker] = []
        self._cut_off: list[Worker] = []
        """Workers lost while the cluster did not answer, to be closed once it does."""
        self._passed = set(passed)
        """Cells of which a repeat is ok."""
        self._hardware: dict[str | None, Hardware] = {}
        self._earlier: dict[str, list[ProcessFailure]] = defaultdict(list)
        self._printed: dict[str, str] = defaultdict(str)
        self._avoid: dict[str, set[str]] = defaultdict(set)
        self._blame = Blame(sweep.max_node_failures)
        self._looked_round = time.monotonic()

    @property
    def busy_share(self) -> float:
        """Share of the cluster's room (GPUs, or CPU lanes) that is on a run right now; 0 to 1."""
        room = sum(node.room for node in self._cluster.nodes.values())
        return sum(worker.units for worker in self._workers if worker.busy) / room if room else 0.0

    def outcomes(self) -> Generator[Outcome]:
        """Every run's outcome, as runs end.

        Raises:
            ClusterLost: The cluster is gone.
        """
        try:
            for outcome in self._outcomes():
                with self._watch.delivering():
                    yield outcome
                    yield from self._not_repeated(outcome)
        except Exception:
            self._watch.look()
            self._watch.check()  # then whatever Ray raised is only how it said so
            raise
        finally:
            if self._watch.answers:
                self._preparation.cancel()
                self._cluster.ask_for({})
                for worker in self._workers:
                    worker.close()

    def _outcomes(self) -> Iterator[Outcome]:
        yield from self._without_room()
        while self._backlog or any(worker.busy for worker in self._workers):
            if self._stop():
                yield from self._collect(patience_s=0.0)
                return
            self._watch.check()
            self._feed()
            if self._watch.answers:
                while self._cut_off:
                    self._cut_off.pop().close()
                self._open_workers()
            yield from self._collect()
            if self._watch.answers:
                yield from self._end_overdue()
                yield from self._look_round()

    def _not_repeated(self, outcome: Outcome) -> Iterator[Outcome]:
        """What will not pass is tried once: the other repeats of a cell that failed end with it, unless one was ok."""
        failure, cell_id = outcome.failure, outcome.run.cell.cell_id
        if failure is None:
            self._passed.add(cell_id)
        elif faults.is_hopeless(failure) and cell_id not in self._passed:
            for run in self._backlog.withdraw(outcome.run):
                yield self._outcome(run, (), faults.not_repeated(run, failure))

    def _open_workers(self) -> None:
        """Open workers where there is room, while there are more runs than workers to come.

        They start while the first models are being prepared: both import for seconds.
        """
        while self._open_one():
            pass

    def _open_one(self) -> bool:
        """Open a worker of the kind that needs one most and finds room; returns whether one did.

        Workers that are idle were offered every run a moment ago, and can do none of those left where they are; while
        models are being prepared, they wait for those. Workers whose place other jobs hold may never come.
        """
        workers = Counter(worker.kind for worker in self._workers)
        waits = self._preparation.lasts
        coming = Counter(
            worker.kind
            for worker in self._workers
            if not worker.busy and not worker.kept_waiting and (waits or not worker.idle)
        )
        runs = self._backlog.expected()
        for kind in self._backlog.by_need(workers):
            if coming[kind] < runs[kind] and (nodes := self._cluster.place(kind, self._avoided)):
                self._workers.append(Worker(kind, nodes, self._cluster, self._equipment))
                return True
        return False

    def _feed(self) -> None:
        """Give each idle worker its next run; close those whose kind has none left, for others may need the room."""
        if not self._preparation.may_measure:
            return
        for worker in [worker for worker in self._workers if worker.idle]:
            if _on(worker, self._cluster.set_aside):
                self._close(worker)
                continue
            run = self._backlog.take(worker.kind, loaded=worker.loaded, fits=partial(self._fits, worker))
            if run is not None:
                cost, reason = self._preparation.cost(run)
                attempt = len(self._earlier[run.key]) + 1
                worker.start(run, cost, reason, attempt=attempt, timeout_s=self._sweep.timeout_s)
            elif worker.kind not in self._backlog.kinds() and not self._preparation.lasts:
                self._close(worker)

    def _fits(self, worker: Worker, run: Run) -> bool:
        """Whether this worker can do the run, and the run was not lost here while it could be tried elsewhere."""
        if worker.hardware is None or impossible(run.cell, worker.hardware):
            return False
        if not self._preparation.at_hand(run, worker.nodes):
            return False
        return not _on(worker, self._avoid.get(run.key, ())) or not self._can_go_elsewhere(run)

    def _can_go_elsewhere(self, run: Run) -> bool:
        """Whether a worker that could take the run is, or could be opened, on a node where it was not lost yet."""
        kind, avoid = kind_of(run), self._avoid[run.key]
        if (nodes := self._cluster.place(kind, avoid)) and not {node.id for node in nodes} & avoid:
            return True
        return any(
            other.kind == kind
            and not _on(other, avoid | self._cluster.set_aside.keys())
            and not (other.hardware and impossible(run.cell, other.hardware))
            for other in self._workers
        )

    @property
    def _avoided(self) -> set[str]:
        """Nodes where runs that are to be tried again were lost: others come first."""
        return set().union(*self._avoid.values())

    def _collect(self, patience_s: float = _SLEEP_S) -> Iterator[Outcome]:
        """Wait for something to be delivered, then take in all that is there."""
        if counted := self._preparation.counted:
            for run, failure in self._preparation.settle_counts(counted, self._backlog):
                yield self._outcome(run, (), failure)
            return
        if self._preparation.counts:
            patience_s = min(patience_s, _GLANCE_S)
        owing = {ref: worker for worker in self._workers for ref in worker.refs}
        refs = [*owing, *self._preparation.refs]
        if not refs:  # only counts that end and nodes that may still come can help: `_look_round` decides
            time.sleep(patience_s)
            return
        if self._watch.answers:  # what is over its time cannot be ended before
            bounds = (worker.deadline - time.monotonic() for worker in self._workers)
            patience_s = max(0.0, min((patience_s, *bounds)))
        if not ray.wait(refs, timeout=patience_s, fetch_local=False)[0]:
            return
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        for ref in ready:
            if ref in self._preparation.refs:
                for run, failure in self._preparation.settle(ref, self._backlog):
                    yield self._outcome(run, (), failure)
            elif ref in owing[ref].refs:  # not where another rank of its gang ended it a moment ago
                yield from self._settle(owing[ref], ref)

    def _settle(self, worker: Worker, ref: Any) -> Iterator[Outcome]:
        """Take in one rank's delivery, and finish the run when it was the last, or the gang when it failed."""
        rank = worker.refs[ref]
        try:
            failed = worker.settle(ref)
        except Exception as error:
            yield from self._died(worker, error, rank)
            return
        if worker.busy is None:
            if worker.idle:
                yield from self._greeted(worker)
        elif failed or not worker.refs:
            yield from self._finished(worker)

    def _finished(self, worker: Worker) -> Iterator[Outcome]:
        """The last rank has delivered, or one has failed."""
        unfinished = bool(worker.refs)  # ranks that wait for one that failed, and would for ever
        busy = worker.busy
        assert busy is not None
        results, failure, reusable, printed = worker.finish()
        self._printed[busy.run.key] += printed
        if failure is not None and failure.status == "lost":  # its GPU fell out, or the peer it was talking to
            self._close(worker)
            yield from self._lost(busy, results, failure, worker.nodes[failure.rank or 0])
            return
        for node in worker.nodes:
            self._blame.went_well(node.id)
        if worker.changes:
            said = "; ".join(sorted(worker.changes))
            log.warning("%s left its process on %s changed, which is used no more: %s", busy.run.key, worker.host, said)
        if unfinished or not reusable or self._sweep.isolation == "fresh":
            self._close(worker)
        yield self._outcome(busy.run, results, failure)

    def _greeted(self, worker: Worker) -> Iterator[Outcome]:
        """A worker has started: what its card cannot do, and no other card might, is skipped."""
        card = worker.nodes[0].card
        if card in self._hardware or worker.hardware is None:
            return
        self._hardware[card] = worker.hardware
        if not self._cluster.cards <= set(self._hardware):
            return  # a type of card is left on which no worker has started: it may do what this one cannot
        reasons = {run.key: self._impossible(run) for run in self._backlog.remaining()}
        skipped = [run for run in self._backlog.remaining() if reasons[run.key]]
        self._backlog.remove(skipped)
        for run in skipped:
            yield self._outcome(run, (), faults.untried(run, reasons[run.key] or ""))

    def _impossible(self, run: Run) -> str | None:
        pinned = run.cell.accelerator_type
        cards = [hardware for card, hardware in self._hardware.items() if pinned in (None, card)]
        reasons = [impossible(run.cell, hardware) for hardware in cards]
        return reasons[0] if reasons and all(reasons) else None

    def _died(self, worker: Worker, error: Exception, rank: int | None) -> Iterator[Outcome]:
        """A process or its node is gone: the whole gang ends, and the run is tried again if it may be."""
        node = worker.nodes[rank or 0]
        busy = worker.busy
        if not self._watch.look():  # no fault of the run: it begins again if the cluster comes back
            self._workers.remove(worker)
            self._cut_off.append(worker)
            if busy is not None:
                self._backlog.put(busy.run, self._preparation.forecast(busy.run))
            return
        self._close(worker)
        if busy is None:
            log.warning("a process could not start on %s: %s", node.host, faults.in_a_line(error))
            self._blame.did_not_start(node.id)
            yield from self._judge(node, faults.in_a_line(error))
            return
        failure = faults.failure(busy.run, error, host=node.host, attempt=busy.attempt, rank=rank)
        delivered, _, _, printed = worker.finish()
        self._printed[busy.run.key] += printed
        if failure.status == "lost":
            yield from self._lost(busy, delivered, failure, node)
        else:
            yield self._outcome(busy.run, delivered, failure)

    def _lost(
        self, busy: Busy, delivered: tuple[RawProcessResult, ...], failure: ProcessFailure, node: Node
    ) -> Iterator[Outcome]:
        """What may pass on another try is tried again, elsewhere where there is an elsewhere, up to the bound."""
        run = busy.run
        self._looked_round = float("-inf")  # perhaps the whole node is gone: see now
        self._blame.lost(run.cell.cell_id, node.id)
        if busy.attempt < self._sweep.max_attempts:
            log.warning("%s was lost on %s (try %d): %s", run.key, node.host, busy.attempt, failure.error_message)
            self._earlier[run.key].append(failure)
            self._avoid[run.key].add(node.id)
            self._backlog.put(run, self._preparation.forecast(run))
        else:
            yield self._outcome(run, delivered, failure)
        yield from self._judge(node, failure.error_message)

    def _judge(self, node: Node, said: str) -> Iterator[Outcome]:
        """Set a node aside that fails again and again; runs that only it could hold end with it."""
        others = [each for each in self._cluster.able(None) if each.id != node.id]
        if node.id in self._cluster.set_aside or not self._blame.is_unfit(node.id, alone=not others):
            return
        losses = f"{self._blame.losses(node.id)} losses in a row, the last: {said}"
        log.warning("node %s (%s) gets no more runs after %s; its logs: %s", node.host, node.id, losses, logs_folder())
        self._cluster.set_aside[node.id] = f"{node.host} after {losses}; its logs: {logs_folder()}"
        yield from self._without_room()

    def _end_overdue(self) -> Iterator[Outcome]:
        """Kill what is over its time, but not what has delivered while the driver was busy elsewhere."""
        now = time.monotonic()
        for worker in [worker for worker in self._workers if worker.deadline <= now]:
            if ray.wait([*worker.refs], timeout=0, fetch_local=False)[0]:
                continue  # the next `_collect` takes it in
            busy = worker.busy
            if busy is None:
                yield from self._died(worker, TimeoutError(f"it did not start within {START_TIMEOUT_S:g} s"), None)
                continue
            self._close(worker)
            failure = faults.timed_out(busy.run, self._sweep.timeout_s, host=worker.host, attempt=busy.attempt)
            delivered, _, _, printed = worker.finish()
            self._printed[busy.run.key] += printed
            yield self._outcome(busy.run, delivered, failure)

    def _look_round(self) -> Iterator[Outcome]:
        """Now and then, see which nodes there are."""
        if time.monotonic() - self._looked_round < _LOOK_ROUND_S:
            return
        self._looked_round = time.monotonic()
        gone = self._cluster.refresh()
        self._preparation.look_round()
        for worker in self._workers:
            if worker.look_round():
                log.warning("other jobs of the cluster hold what a process on %s needs; it waits for them", worker.host)
        if gone or self._cluster.waits_for_nodes:
            yield from self._without_room()

    def _without_room(self) -> Iterator[Outcome]:
        """Runs that no node can ever hold end now: Ray would wait for one for ever."""
        kinds = Counter(kind_of(run) for run in self._backlog.remaining())
        self._cluster.ask_for(kinds)
        for kind, reason in {kind: self._cluster.why_never(kind) for kind in kinds}.items():
            stuck = [run for run in self._backlog.remaining() if reason and kind_of(run) == kind]
            self._backlog.remove(stuck)
            if stuck:
                log.error("no node can take %d of the runs that are left: %s", len(stuck), reason)
            for run in stuck:
                earlier = self._earlier[run.key]
                failure = faults.untried(run, reason or "", error_type=faults.NO_ROOM)
                if earlier:  # it was tried, and lost with the last node that could hold it
                    last = earlier.pop()
                    failure = last.model_copy(update={"error_message": f"{last.error_message}; now {reason}"})
                yield self._outcome(run, (), failure)

    def _outcome(self, run: Run, results: tuple[RawProcessResult, ...], failure: ProcessFailure | None) -> Outcome:
        earlier, printed = tuple(self._earlier.pop(run.key, ())), self._printed.pop(run.key, "")
        self._avoid.pop(run.key, None)
        failure = failure and redacted(failure)
        return Outcome(run=run, results=results, failure=failure, earlier_failures=earlier, printed=printed)

    def _close(self, worker: Worker) -> None:
        worker.close()
        self._workers.remove(worker)


def _on(worker: Worker, nodes: Collection[str]) -> bool:
    return any(node.id in nodes for node in worker.nodes)
