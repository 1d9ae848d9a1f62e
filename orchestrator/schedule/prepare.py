"""Preparation ahead of the GPU's turn: a model's costs are counted once, its weights fetched to where they are needed.

All of it happens in CPU processes, so that no GPU waits for a download. They reserve no CPU: processes that measure may
hold every one, and would wait for the very model that could not be prepared. The driver bounds how many run at once.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.backlog import Backlog, model_key
from orchestrator.predict import predicted_s
from orchestrator.schedule.cluster import Cluster, Node
from workers.prepare import Prepared, fetch, on_hub, prepare
from workers.records import InferenceCost, ModelSpec, ProcessFailure, Run, Shape

_CPUS_PER_TASK = 2
"""Counting is one thread, and what else runs on the node needs some too."""


class _Task(NamedTuple):
    """One thing to do for a model."""

    model: str
    node: str | None
    """Id of the node that it fetches weights to; null where it counts FLOPs."""


class Preparation:
    """The models of a sweep on their way to being measurable.

    Args:
        runs: Every run of the sweep.
        cluster: Where weights will be needed.
        estimate: What counts a model's FLOPs in a task; a stand-in where nothing is to be counted.
        fetch: What brings a hub model's weights to the node that it runs on; a stand-in where there is no hub.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        cluster: Cluster,
        *,
        estimate: Callable[..., Prepared] = prepare,
        fetch: Callable[[ModelSpec], Prepared] = fetch,
    ) -> None:
        self._cluster = cluster
        self._estimate = estimate
        self._fetch = fetch
        self._runs: dict[str, list[Run]] = {}
        for run in runs:
            self._runs.setdefault(model_key(run), []).append(run)
        self._shapes = {model: tuple(dict.fromkeys(map(shape_of, runs))) for model, runs in self._runs.items()}
        self._costs: dict[str, dict[Shape, InferenceCost]] = {}
        self._reasons: dict[str, str] = {}
        self._fetched: dict[str, dict[str, Prepared | None]] = {}
        """Hub model -> node -> what came of fetching; null while it is not known."""
        self._released: set[str] = set()
        self._todo = deque(_Task(model, None) for model in self._runs)
        self.refs: dict[Any, _Task] = {}
        """Tasks that run."""
        self._desks: dict[Any, Any] = {}
        """Task that runs -> the process that counts it."""
        self._free_desks: list[Any] = []
        self._begin()

    @property
    def may_measure(self) -> bool:
        """Whether runs may begin yet: beside a measurement on the CPU, preparing would take its cores."""
        return self._cluster.device != "cpu" or not self.refs

    def settle(self, ref: Any, backlog: Backlog) -> Iterator[tuple[Run, ProcessFailure]]:
        """Take in what one task came to: the model's runs are released, or fail where the model cannot be had."""
        task = self.refs.pop(ref)
        desk = self._desks.pop(ref, None)
        try:
            prepared: Prepared = ray.get(ref)
            self._free_desks += [desk] if desk else []
        except Exception as error:  # the task's process or node died: measuring may go well all the same
            what = "fetching weights" if task.node else "counting FLOPs"
            prepared = Prepared(reason=f"{what} ended with {type(error).__name__}: {error}")
        if task.node is None:
            failed = self._counted(task.model, prepared)
        else:
            failed = self._settle_fetch(task.model, task.node, prepared)
        self._begin()
        if not self.refs:
            self._close_desks()
        if failed is not None:
            yield from ((run, _cannot_be_had(run, failed)) for run in backlog.discard(task.model))
        elif task.model not in self._released and not self._fetches(task.model):
            self._released.add(task.model)
            backlog.release(task.model, lambda run: predicted_s(run.cell, self.cost(run)[0]))

    def look_round(self) -> None:
        """Fetch weights to nodes that have come since."""
        for model, fetched in self._fetched.items():
            if model in self._released:
                new = [node for node in self._nodes_for(model) if node.id not in fetched]
                fetched.update(dict.fromkeys(node.id for node in new))
                self._todo.extend(_Task(model, node.id) for node in new)
        self._begin()

    def at_hand(self, run: Run, nodes: Sequence[Node]) -> bool:
        """Whether the run's weights lie on all these nodes, or on no node where it could go instead.

        In the latter case loading tries by itself, and says what it lacks.
        """
        fetched = self._fetched.get(model_key(run))
        if fetched is None or all(_came(fetched.get(node.id)) for node in nodes):
            return True
        return not any(
            node.id not in fetched or fetched[node.id] is None or _came(fetched[node.id])
            for node in self._cluster.able(run.cell.accelerator_type)
        )

    def cost(self, run: Run) -> tuple[InferenceCost | None, str | None]:
        """What one inference of one data-parallel rank of the run costs, or why that is not known."""
        model = model_key(run)
        return self._costs.get(model, {}).get(shape_of(run)), self._reasons.get(model)

    def cancel(self) -> None:
        """End what still runs, and begin nothing more."""
        self._todo.clear()
        for ref in self.refs.keys() - self._desks.keys():
            ray.cancel(ref, force=True)
        self._close_desks()
        self.refs.clear()

    def _begin(self) -> None:
        """Start what may run now."""
        at_once = max(1, int(sum(node.cpus for node in self._cluster.nodes.values())) // _CPUS_PER_TASK)
        while self._todo and len(self.refs) < at_once:
            task = self._todo.popleft()
            self.refs[self._start(task)] = task

    def _start(self, task: _Task) -> Any:
        cell = self._runs[task.model][0].cell
        if task.node is not None:
            where = NodeAffinitySchedulingStrategy(task.node, soft=False)
            return ray.remote(num_cpus=0, max_calls=1, scheduling_strategy=where)(self._fetch).remote(cell.model)
        desk = self._free_desks.pop() if self._free_desks else _Desk.remote(self._estimate)
        ref = desk.count.remote(cell.model, cell.load, self._shapes[task.model])
        self._desks[ref] = desk
        return ref

    def _close_desks(self) -> None:
        """End the processes that count."""
        for desk in (*self._desks.values(), *self._free_desks):
            ray.kill(desk, no_restart=True)
        self._desks.clear()
        self._free_desks.clear()

    def _counted(self, model: str, prepared: Prepared) -> Prepared | None:
        """Keep the costs; fetch what comes from the hub. Returns the failure where the model cannot be had."""
        if prepared.error_type is not None:
            return prepared
        self._costs[model] = dict(zip(self._shapes[model], prepared.costs, strict=False))
        if prepared.reason:
            self._reasons[model] = prepared.reason
        if on_hub(self._runs[model][0].cell.model):
            self._fetched[model] = {node.id: None for node in self._nodes_for(model)}
            self._todo.extend(_Task(model, node) for node in self._fetched[model])
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
        batch_size=cell.batch_size // cell.processes,
        input_tokens=cell.input_tokens,
        output_tokens=cell.output_tokens,
        precision=cell.precision,
    )


class _Counting:
    """A process that counts model after model, so that torch and calflops are imported once. It measures nothing."""

    def __init__(self, estimate: Callable[..., Prepared]) -> None:
        self._estimate = estimate

    def count(self, model: ModelSpec, load: dict[str, Any], shapes: Sequence[Shape]) -> Prepared:
        return self._estimate(model, load, shapes)


_Desk: Any = ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy="SPREAD")(_Counting)


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
