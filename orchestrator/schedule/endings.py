"""How runs end: measured, failed, lost too often, unsupported, or without a node that can hold them.

Each method takes an event and returns the outcomes of all runs that end by it, other repeats of the cell included.
"""

import logging
from collections import Counter
from collections.abc import Collection, Sequence

from orchestrator.config import SweepConfig
from orchestrator.costs.utilisation import with_cost
from orchestrator.schedule import faults
from orchestrator.schedule.backlog import Backlog, shape_of
from orchestrator.schedule.cluster import Cluster, Node, logs_folder
from orchestrator.schedule.node_health import NodeHealth
from orchestrator.schedule.preparation import Preparation
from orchestrator.schedule.retries import Retries
from orchestrator.schedule.worker import Busy
from orchestrator.support import unsupported
from workers.records import NO_CAPACITY, Hardware, Outcome, ProcessFailure, RawProcessResult, Run

log = logging.getLogger("joulegrid")


class Endings:
    """Turns what happens to processes and nodes into outcomes of runs.

    Args:
        cluster: The nodes; those that fail repeatedly are quarantined.
        backlog: The runs that have not begun.
        preparation: What runs cost.
        sweep: The limits on attempts and on a node's failures.
        passed: Ids of the cells that already have a repeat that was ok.
    """

    def __init__(
        self,
        cluster: Cluster,
        backlog: Backlog,
        preparation: Preparation,
        sweep: SweepConfig,
        *,
        passed: Collection[str] = (),
    ) -> None:
        self._cluster = cluster
        self._backlog = backlog
        self._preparation = preparation
        self._passed = set(passed)
        self._hardware: dict[str | None, Hardware] = {}
        """Hardware that the workers reported, by type of card."""
        self._health = NodeHealth(sweep.max_node_failures)
        self.retries = Retries(sweep.max_attempts)

    def ended(
        self, run: Run, results: Sequence[RawProcessResult] = (), failure: ProcessFailure | None = None
    ) -> list[Outcome]:
        """A run has ended. If another repeat would fail in the same way, the cell's other repeats end with it."""
        cost, reason = self._preparation.cost(run)
        split = run.cell.tensor_parallel
        costed = [with_cost(result, cost, reason, split=split) for result in results]
        outcomes = [self.retries.outcome(run, costed, failure)]
        if failure is None:
            self._passed.add(run.cell.cell_id)
        elif faults.is_hopeless(failure) and run.cell.cell_id not in self._passed:
            outcomes += [
                self.retries.outcome(other, (), faults.not_repeated(other, failure))
                for other in self._backlog.withdraw(run)
            ]
        return outcomes

    def not_begun(self, failures: Sequence[tuple[Run, ProcessFailure]]) -> list[Outcome]:
        """Runs have failed before they began: their model cannot be prepared, or cannot run them."""
        return [outcome for run, failure in failures for outcome in self.ended(run, failure=failure)]

    def delivered(self, nodes: Sequence[Node]) -> None:
        """Processes on these nodes have delivered: their failures in a row start again from 0."""
        for node in nodes:
            self._health.succeeded(node.id)

    def lost(
        self, busy: Busy, results: Sequence[RawProcessResult], failure: ProcessFailure, node: Node
    ) -> list[Outcome]:
        """A process or its node is gone: the run is tried again up to the limit, on another node if there is one."""
        run = busy.run
        self._health.lost(run.cell.cell_id, node.id)
        outcomes = []
        if self.retries.may_retry(busy.attempt):
            log.warning("%s was lost on %s (attempt %d): %s", run.key, node.host, busy.attempt, failure.error_message)
            self.retries.lost(run, failure, node.id)
            self._backlog.put(run, self._preparation.run_times(run))
        else:
            outcomes = self.ended(run, results, failure)
        return outcomes + self._quarantine_if_unhealthy(node, failure.error_message)

    def failed_to_start(self, node: Node, message: str) -> list[Outcome]:
        """A process has ended before it got a run."""
        log.warning("a process could not start on %s: %s", node.host, message)
        self._health.failed_to_start(node.id)
        return self._quarantine_if_unhealthy(node, message)

    def _quarantine_if_unhealthy(self, node: Node, message: str) -> list[Outcome]:
        """Quarantine a node that fails repeatedly; runs that only it could hold end with it."""
        others = [each for each in self._cluster.able(None) if each.id != node.id]
        if node.id in self._cluster.quarantined or not self._health.is_unhealthy(node.id, alone=not others):
            return []
        failures = self._health.losses(node.id)
        cause = f"{failures} failure{'' if failures == 1 else 's'} in a row, the last: {message}"
        log.warning(
            "node %s (%s) is quarantined and gets no more runs after %s; Ray's logs there: %s",
            node.host, node.id, cause, logs_folder(),
        )  # fmt: skip
        self._cluster.quarantined[node.id] = f"{node.host} after {cause}; Ray's logs there: {logs_folder()}"
        return self.without_capacity()

    def hardware_found(self, card: str | None, hardware: Hardware) -> list[Outcome]:
        """A worker has started: runs that neither its card nor any other supports are skipped."""
        if card in self._hardware:
            return []
        self._hardware[card] = hardware
        if not self._cluster.cards <= set(self._hardware):
            return []  # no worker has started on some other type of card, which may support more
        reasons = {run.key: self._unsupported(run) for run in self._backlog.remaining()}
        skipped = [run for run in self._backlog.remaining() if reasons[run.key]]
        self._backlog.remove(skipped)
        return [
            outcome
            for run in skipped
            for outcome in self.ended(run, failure=faults.skipped(run, reasons[run.key] or ""))
        ]

    def _unsupported(self, run: Run) -> str | None:
        pinned = run.cell.accelerator_type
        cards = [hardware for card, hardware in self._hardware.items() if pinned in (None, card)]
        reasons = [unsupported(run.cell, hardware) for hardware in cards]
        return reasons[0] if reasons and all(reasons) else None

    def without_capacity(self) -> list[Outcome]:
        """End the runs that no node can ever hold; Ray would wait for such a node for ever."""
        outcomes = []
        shapes = Counter(shape_of(run) for run in self._backlog.remaining())
        self._cluster.ask_for(shapes)
        for shape, reason in {shape: self._cluster.why_never(shape) for shape in shapes}.items():
            if reason is None:
                continue
            stuck = [run for run in self._backlog.remaining() if shape_of(run) == shape]
            self._backlog.remove(stuck)
            if stuck:
                runs = "1 remaining run" if len(stuck) == 1 else f"{len(stuck)} remaining runs"
                log.error("no node can hold %s: %s", runs, reason)
            for run in stuck:
                outcomes += self.ended(run, failure=self._without_node(run, reason))
        return outcomes

    def _without_node(self, run: Run, reason: str) -> ProcessFailure:
        last = self.retries.withdraw_last(run)
        if last is None:
            return faults.skipped(run, reason, error_type=NO_CAPACITY)
        # It was tried, and lost with the last node that could hold it.
        return last.model_copy(update={"error_message": f"{last.error_message}; not tried again: {reason}"})
