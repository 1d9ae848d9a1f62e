"""What is prepared before a model takes a GPU: its costs are counted once, its weights fetched to the nodes.

Costs are counted beside the driver while the first workers start. Tasks on the nodes fetch the weights. These tasks
reserve no CPU: processes that measure may hold all CPUs while they wait for the model that is to be fetched. The driver
limits how many tasks run at once.
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.costs import options
from orchestrator.costs.duration import rough_load_s, rough_run_s
from orchestrator.costs.verdict import verdict
from orchestrator.schedule.backlog import Backlog, RunTimes
from orchestrator.schedule.cluster import Cluster, Node
from orchestrator.schedule.faults import skipped
from workers.fetch import fetch, on_hub
from workers.records import InferenceCost, Prepared, ProcessFailure, Run, Shape

_CPUS_PER_TASK = 2
"""Counting and fetching take about one each, and other processes on the node need some too."""

_COUNTS_AT_ONCE = 8
"""Each count takes about 1 GB."""


class _Fetch(NamedTuple):
    """Weights on their way to a node."""

    model: str
    node: str
    """The node's id."""


class Preparation:
    """Prepares the models of a sweep, and releases their runs.

    Args:
        runs: Every run of the sweep.
        cluster: The nodes that need the weights.
        estimate: Counts a model's FLOPs, called in threads of this process; not called for `engine: fake`.
        fetch: Fetches a hub model's weights to the node that it runs on.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        cluster: Cluster,
        *,
        estimate: Callable[..., Prepared],
        fetch: Callable[[str], str] = fetch,
    ) -> None:
        self._cluster = cluster
        self._fetch = fetch
        self._runs: dict[str, list[Run]] = {}
        for run in runs:
            self._runs.setdefault(run.cell.model_key, []).append(run)
        self._shapes = {model: tuple(dict.fromkeys(map(flops_shape, runs))) for model, runs in self._runs.items()}
        self._costs: dict[str, dict[Shape, InferenceCost]] = {}
        self._reasons: dict[str, str] = {}
        self._fetched: dict[str, dict[str, Prepared | None]] = {}
        """Hub model -> node -> result of the fetch; null until the fetch ends."""
        self._released: set[str] = set()
        self._to_fetch: deque[_Fetch] = deque()
        self.refs: dict[Any, _Fetch] = {}
        """Fetches in progress, by Ray's references."""
        threads = min(_COUNTS_AT_ONCE, max(1, (os.cpu_count() or 1) // _CPUS_PER_TASK))
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="count")
        self.counts: dict[Future[Prepared], str] = {}
        """Counts in progress or queued, with their models. `ray.wait` does not return when one ends."""
        for model, (first, *_) in self._runs.items():
            count_costs = _not_counted if first.cell.engine == "fake" else estimate
            count = self._threads.submit(
                count_costs, first.cell.model, first.cell.config_overrides, self._shapes[model]
            )
            self.counts[count] = model

    @property
    def counted(self) -> list[Future[Prepared]]:
        """Counts that have ended and wait for `settle_counts`."""
        return [count for count in self.counts if count.done()]

    @property
    def in_progress(self) -> bool:
        """Whether models are still being counted or fetched."""
        return bool(self.counts or self.refs)

    @property
    def may_measure(self) -> bool:
        """Whether runs may begin: on the CPU only once preparation has ended, since it would take their cores."""
        return self._cluster.device != "cpu" or not self.in_progress

    def settle_counts(self, counted: Sequence[Future[Prepared]], backlog: Backlog) -> list[tuple[Run, ProcessFailure]]:
        """Take in counts that have ended: their models' runs are released, or fail if a model cannot be loaded."""
        failures = []
        for count in counted:
            model = self.counts.pop(count)
            error = count.exception()
            prepared = Prepared(reason=f"{type(error).__name__}: {error}") if error else count.result()
            failed = self._counted(model, prepared)
            failures += self._cannot_succeed(model, backlog)
            failures += self._settled(model, failed, backlog)
        return failures

    def _cannot_succeed(self, model: str, backlog: Backlog) -> list[tuple[Run, ProcessFailure]]:
        """Take out the model's runs that cannot succeed, before one of them begins."""
        hopeless = [(run, reason) for run in self._runs[model] if (reason := self._cannot_run(run))]
        backlog.remove([run for run, _ in hopeless])
        return [(run, skipped(run, reason)) for run, reason in hopeless]

    def _cannot_run(self, run: Run) -> str | None:
        cost, _ = self.cost(run)
        return cost.cannot_run if cost else None

    def settle(self, ref: Any, backlog: Backlog) -> list[tuple[Run, ProcessFailure]]:
        """Take in a fetch that has ended: the model's runs are released, or fail if no node could fetch it."""
        model, node = self.refs.pop(ref)
        try:
            prepared = Prepared.model_validate_json(ray.get(ref))
        except Exception as error:  # the task's process or node died; measuring may still succeed
            prepared = Prepared(reason=f"fetching the weights failed: {type(error).__name__}: {error}")
        return self._settled(model, self._settle_fetch(model, node, prepared), backlog)

    def _settled(self, model: str, failed: Prepared | None, backlog: Backlog) -> list[tuple[Run, ProcessFailure]]:
        self._begin()
        if failed is not None:
            return [(run, _not_prepared(run, failed)) for run in backlog.discard(model)]
        if model not in self._released and not self._fetches(model):
            self._released.add(model)
            backlog.release(model, self.run_times)
        return []

    def refresh(self) -> None:
        """Fetch weights to new nodes."""
        for model, fetched in self._fetched.items():
            if model in self._released:
                new = [node for node in self._nodes_for(model) if node.id not in fetched]
                fetched.update(dict.fromkeys(node.id for node in new))
                self._to_fetch.extend(_Fetch(model, node.id) for node in new)
        self._begin()

    def has_weights(self, run: Run, nodes: Sequence[Node]) -> bool:
        """Whether all these nodes have the run's weights, or no node that could take the run has or can get them.

        In the latter case the worker tries to load them itself, and reports what is missing.
        """
        fetched = self._fetched.get(run.cell.model_key)
        if fetched is None or all(_has_succeeded(fetched.get(node.id)) for node in nodes):
            return True
        return not any(
            node.id not in fetched or fetched[node.id] is None or _has_succeeded(fetched[node.id])
            for node in self._cluster.able(run.cell.accelerator_type)
        )

    def cost(self, run: Run) -> tuple[InferenceCost | None, str | None]:
        """The cost of one inference of one data-parallel rank of the run, or why it is unknown."""
        cell, model = run.cell, run.cell.model_key
        cost = self._costs.get(model, {}).get(flops_shape(run))
        if cost and (doubt := options.uncounted(cell.generate, input_tokens=cell.input_tokens)):
            flops = verdict(cost.estimates, precision=cost.flops.precision, doubt=doubt)
            cost = cost.model_copy(update={"flops": flops})
        return cost, self._reasons.get(model)

    def run_times(self, run: Run) -> RunTimes:
        """How long the run and loading its model are predicted to take."""
        cost, _ = self.cost(run)
        return RunTimes(rough_run_s(run.cell, cost), rough_load_s(cost))

    def cancel(self) -> None:
        """Cancel what is in progress, and begin nothing more."""
        self._to_fetch.clear()
        for ref in self.refs:
            ray.cancel(ref, force=True)
        self.refs.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.counts.clear()

    def _begin(self) -> None:
        """Start as many queued fetches as may run now."""
        at_once = max(1, int(sum(node.cpus for node in self._cluster.nodes.values())) // _CPUS_PER_TASK)
        while self._to_fetch and len(self.refs) < at_once:
            next_fetch = self._to_fetch.popleft()
            where = NodeAffinitySchedulingStrategy(next_fetch.node, soft=False)
            task = ray.remote(num_cpus=0, max_calls=1, scheduling_strategy=where)(self._fetch)
            model = self._runs[next_fetch.model][0].cell.model
            self.refs[task.remote(model.model_dump_json())] = next_fetch

    def _counted(self, model: str, prepared: Prepared) -> Prepared | None:
        """Keep the costs; queue the fetches of a hub model. Returns the failure if the model cannot be loaded."""
        if prepared.error_type is not None:
            return prepared
        self._costs[model] = dict(zip(self._shapes[model], prepared.costs, strict=False))
        if prepared.reason:
            self._reasons[model] = prepared.reason
        first = self._runs[model][0].cell
        if first.engine != "fake" and on_hub(first.model) and not all(map(self._cannot_run, self._runs[model])):
            self._fetched[model] = {node.id: None for node in self._nodes_for(model)}
            self._to_fetch.extend(_Fetch(model, node) for node in self._fetched[model])
        return None

    def _settle_fetch(self, model: str, node: str, prepared: Prepared) -> Prepared | None:
        """Keep the result of a node's fetch. Returns the failure if no node got the weights."""
        self._fetched[model][node] = prepared
        if self._fetches(model) or any(map(_has_succeeded, self._fetched[model].values())):
            return None
        return prepared if model not in self._released else None

    def _fetches(self, model: str) -> bool:
        """Whether a fetch of the model's weights has not ended."""
        return None in self._fetched.get(model, {}).values()

    def _nodes_for(self, model: str) -> list[Node]:
        cards = {run.cell.accelerator_type for run in self._runs[model]}
        return list({node.id: node for card in cards for node in self._cluster.able(card)}.values())


def flops_shape(run: Run) -> Shape:
    """The shape of what one data-parallel rank of a run computes."""
    cell = run.cell
    return Shape(
        batch_size=cell.batch_size // cell.processes * options.sequences(cell.generate),
        input_tokens=cell.input_tokens,
        output_tokens=cell.output_tokens,
        precision=cell.precision,
    )


def _not_counted(*_: object) -> Prepared:
    return Prepared(reason="the fake engine computes nothing")


def _has_succeeded(prepared: Prepared | None) -> bool:
    return prepared is not None and prepared.reason is None


def _not_prepared(run: Run, prepared: Prepared) -> ProcessFailure:
    return ProcessFailure(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        status="failed",
        error_type=prepared.error_type or "NotFetched",
        error_message=prepared.reason or "",
        traceback=prepared.traceback,
    )
