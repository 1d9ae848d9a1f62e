"""Preparation ahead of the GPU's turn: a model's costs are counted once, its weights fetched to where they are needed.

Costs are counted beside the driver while the first workers start; weights are fetched by tasks on the nodes. Those
reserve no CPU: processes that measure may hold every one, and would wait for the very model that could not be prepared.
The driver bounds how many run at once.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.backlog import Backlog, Forecast
from orchestrator.predict import predicted_load_s, predicted_s
from orchestrator.schedule.cluster import Cluster, Node
from orchestrator.schedule.faults import untried
from workers.flops import options
from workers.flops.verdict import verdict
from workers.prepare import Prepared, fetch, on_hub
from workers.records import InferenceCost, ModelSpec, ProcessFailure, Run, Shape

_CPUS_PER_TASK = 2
"""Counting and fetching take about one each, and what else runs on the node needs some too."""

_COUNTS_AT_ONCE = 8
"""Counting takes about 1 GB."""


class _Fetch(NamedTuple):
    """Weights on their way to a node."""

    model: str
    node: str
    """Its id."""


class Preparation:
    """The models of a sweep on their way to being measurable.

    Args:
        runs: Every run of the sweep.
        cluster: Where weights will be needed.
        estimate: Counts a model's FLOPs, called in threads of this process.
        fetch: What brings a hub model's weights to the node that it runs on; a stand-in where there is no hub.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        cluster: Cluster,
        *,
        estimate: Callable[..., Prepared],
        fetch: Callable[[ModelSpec], Prepared] = fetch,
    ) -> None:
        self._cluster = cluster
        self._fetch = fetch
        self._runs: dict[str, list[Run]] = {}
        for run in runs:
            self._runs.setdefault(run.cell.model_key, []).append(run)
        self._shapes = {model: tuple(dict.fromkeys(map(shape_of, runs))) for model, runs in self._runs.items()}
        self._costs: dict[str, dict[Shape, InferenceCost]] = {}
        self._reasons: dict[str, str] = {}
        self._fetched: dict[str, dict[str, Prepared | None]] = {}
        """Hub model -> node -> what came of fetching; null while it is not known."""
        self._released: set[str] = set()
        self._to_fetch: deque[_Fetch] = deque()
        self.refs: dict[Any, _Fetch] = {}
        """Fetches that run."""
        threads = min(_COUNTS_AT_ONCE, max(1, (os.cpu_count() or 1) // _CPUS_PER_TASK))
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="count")
        self.counts: dict[Future[Prepared], str] = {}
        """Counts that run or wait for a thread, with their models. `ray.wait` does not hear of their ends."""
        for model, (first, *_) in self._runs.items():
            count = self._threads.submit(estimate, first.cell.model, first.cell.bends, self._shapes[model])
            self.counts[count] = model

    @property
    def counted(self) -> list[Future[Prepared]]:
        """Counts that are done and wait for `settle_counts`."""
        return [count for count in self.counts if count.done()]

    @property
    def lasts(self) -> bool:
        """Whether models are still on their way."""
        return bool(self.counts or self.refs)

    @property
    def may_measure(self) -> bool:
        """Whether runs may begin yet: beside a measurement on the CPU, preparing would take its cores."""
        return self._cluster.device != "cpu" or not self.lasts

    def settle_counts(
        self, counted: Sequence[Future[Prepared]], backlog: Backlog
    ) -> Iterator[tuple[Run, ProcessFailure]]:
        """Take in what has been counted: the models' runs are released, or fail where a model cannot be had."""
        for count in counted:
            model = self.counts.pop(count)
            error = count.exception()
            prepared = Prepared(reason=f"{type(error).__name__}: {error}") if error else count.result()
            failed = self._counted(model, prepared)
            yield from self._hopeless(model, backlog)
            yield from self._settled(model, failed, backlog)

    def _hopeless(self, model: str, backlog: Backlog) -> Iterator[tuple[Run, ProcessFailure]]:
        """Take out the model's runs that cannot succeed, before a GPU is taken for them."""
        hopeless = [(run, reason) for run in self._runs[model] if (reason := self._cannot_run(run))]
        backlog.remove([run for run, _ in hopeless])
        yield from ((run, untried(run, reason)) for run, reason in hopeless)

    def _cannot_run(self, run: Run) -> str | None:
        cost, _ = self.cost(run)
        return cost.cannot_run if cost else None

    def settle(self, ref: Any, backlog: Backlog) -> Iterator[tuple[Run, ProcessFailure]]:
        """Take in what one fetch came to: the model's runs are released, or fail where the model cannot be had."""
        model, node = self.refs.pop(ref)
        try:
            prepared: Prepared = ray.get(ref)
        except Exception as error:  # the task's process or node died: measuring may go well all the same
            prepared = Prepared(reason=f"fetching weights ended with {type(error).__name__}: {error}")
        yield from self._settled(model, self._settle_fetch(model, node, prepared), backlog)

    def _settled(self, model: str, failed: Prepared | None, backlog: Backlog) -> Iterator[tuple[Run, ProcessFailure]]:
        self._begin()
        if failed is not None:
            yield from ((run, _cannot_be_had(run, failed)) for run in backlog.discard(model))
        elif model not in self._released and not self._fetches(model):
            self._released.add(model)
            backlog.release(model, self.forecast)

    def look_round(self) -> None:
        """Fetch weights to nodes that have come since."""
        for model, fetched in self._fetched.items():
            if model in self._released:
                new = [node for node in self._nodes_for(model) if node.id not in fetched]
                fetched.update(dict.fromkeys(node.id for node in new))
                self._to_fetch.extend(_Fetch(model, node.id) for node in new)
        self._begin()

    def at_hand(self, run: Run, nodes: Sequence[Node]) -> bool:
        """Whether the run's weights lie on all these nodes, or on no node where it could go instead.

        In the latter case loading tries by itself, and says what it lacks.
        """
        fetched = self._fetched.get(run.cell.model_key)
        if fetched is None or all(_came(fetched.get(node.id)) for node in nodes):
            return True
        return not any(
            node.id not in fetched or fetched[node.id] is None or _came(fetched[node.id])
            for node in self._cluster.able(run.cell.accelerator_type)
        )

    def cost(self, run: Run) -> tuple[InferenceCost | None, str | None]:
        """What one inference of one data-parallel rank of the run costs, or why that is not known."""
        cell, model = run.cell, run.cell.model_key
        cost = self._costs.get(model, {}).get(shape_of(run))
        if cost and (doubt := options.uncounted(cell.generate, input_tokens=cell.input_tokens)):
            flops = verdict(cost.estimates, precision=cost.flops.precision, doubt=doubt)
            cost = cost.model_copy(update={"flops": flops})
        return cost, self._reasons.get(model)

    def forecast(self, run: Run) -> Forecast:
        """What the run and loading its model are predicted to take."""
        cost, _ = self.cost(run)
        return Forecast(predicted_s(run.cell, cost), predicted_load_s(cost))

    def cancel(self) -> None:
        """End what still runs, and begin nothing more."""
        self._to_fetch.clear()
        for ref in self.refs:
            ray.cancel(ref, force=True)
        self.refs.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.counts.clear()

    def _begin(self) -> None:
        """Start the fetches that may run now."""
        at_once = max(1, int(sum(node.cpus for node in self._cluster.nodes.values())) // _CPUS_PER_TASK)
        while self._to_fetch and len(self.refs) < at_once:
            fetch = self._to_fetch.popleft()
            where = NodeAffinitySchedulingStrategy(fetch.node, soft=False)
            task = ray.remote(num_cpus=0, max_calls=1, scheduling_strategy=where)(self._fetch)
            self.refs[task.remote(self._runs[fetch.model][0].cell.model)] = fetch

    def _counted(self, model: str, prepared: Prepared) -> Prepared | None:
        """Keep the costs; fetch what comes from the hub. Returns the failure where the model cannot be had."""
        if prepared.error_type is not None:
            return prepared
        self._costs[model] = dict(zip(self._shapes[model], prepared.costs, strict=False))
        if prepared.reason:
            self._reasons[model] = prepared.reason
        if on_hub(self._runs[model][0].cell.model) and not all(map(self._cannot_run, self._runs[model])):
            self._fetched[model] = {node.id: None for node in self._nodes_for(model)}
            self._to_fetch.extend(_Fetch(model, node) for node in self._fetched[model])
        return None

    def _settle_fetch(self, model: str, node: str, prepared: Prepared) -> Prepared | None:
        """Note what came of a node's fetch. Returns the failure where no node got the weights."""
        self._fetched[model][node] = prepared
        if self._fetches(model) or any(map(_came, self._fetched[model].values())):
            return None
        return prepared if model not in self._released else None

    def _fetches(self, model: str) -> bool:
        """Whether a node is still waiting for the model's weights."""
        return None in self._fetched.get(model, {}).values()

    def _nodes_for(self, model: str) -> list[Node]:
        cards = {run.cell.accelerator_type for run in self._runs[model]}
        return list({node.id: node for card in cards for node in self._cluster.able(card)}.values())


def shape_of(run: Run) -> Shape:
    """What one data-parallel rank of a run computes."""
    cell = run.cell
    return Shape(
        batch_size=cell.batch_size // cell.processes * options.sequences(cell.generate),
        input_tokens=cell.input_tokens,
        output_tokens=cell.output_tokens,
        precision=cell.precision,
    )


def _came(prepared: Prepared | None) -> bool:
    return prepared is not None and prepared.reason is None


def _cannot_be_had(run: Run, prepared: Prepared) -> ProcessFailure:
    return ProcessFailure(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        status="failed",
        error_type=prepared.error_type or "NotFetched",
        error_message=prepared.reason or "",
        traceback=prepared.traceback,
    )
