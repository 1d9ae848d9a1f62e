"""A cluster in virtual time: the program's `Backlog` and `Cluster` decide what runs where; the runs are simulated."""

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from orchestrator.schedule.backlog import Backlog, RunTimes, WorkerShape
from orchestrator.schedule.cluster import Cluster, Node
from workers.records import Cell, ModelSpec, Run

HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Runs, their actual times, and the rough times that the schedule works with. Unit: s."""

    runs: Sequence[Run]
    actual_s: dict[str, float]
    rough_s: dict[str, float]


@dataclass(kw_only=True)
class Report:
    """The result of a simulated sweep."""

    makespan_s: float = 0.0
    bound_s: float = 0.0
    loads: int = 0
    done: list[str] = field(default_factory=list)
    worked_s: float = 0.0
    """GPU time of all attempts together. Unit: s."""
    repeated_s: float = 0.0
    """GPU time of attempts that were lost. Unit: s."""
    failed_nodes: int = 0

    @property
    def over_bound(self) -> float:
        """Makespan over the lower bound; 1 is optimal."""
        return self.makespan_s / self.bound_s

    @property
    def repeated_share(self) -> float:
        """Share of the GPU time that was lost."""
        return self.repeated_s / self.worked_s


def heavy_tailed(
    cells: int, *, mean_s: float, longest_s: float, gang_share: float = 0.0, repeats: int = 1, seed: int = 0
) -> Workload:
    """Runs of 20 models with Pareto times (shape 1.5: the variance is infinite) up to `longest_s`, predicted +-30 %.

    Args:
        cells: Number of cells.
        mean_s: Mean time before the cut. Unit: s.
        longest_s: The longest time, as a sweep's time-out cuts it. Unit: s.
        gang_share: Share of the cells that take 4 GPUs.
        repeats: Repeats of each cell.
        seed: The same seed gives the same runs.
    """
    draw = random.Random(seed)
    models = [ModelSpec(name=f"m{index}", source=f"org/m{index}") for index in range(20)]
    grid = [
        Cell(
            model=models[index % 20],
            precision="bf16",
            input_tokens=index + 1,
            batch_size=4,
            processes=4 if draw.random() < gang_share else 1,
        )
        for index in range(cells)
    ]
    actual_s = {cell.cell_id: min(longest_s, draw.paretovariate(1.5) * mean_s / 3) for cell in grid}
    rough_s = {cell_id: actual * draw.lognormvariate(0.0, 0.3) for cell_id, actual in actual_s.items()}
    runs = [Run(cell=cell, repeat=repeat) for repeat in range(repeats) for cell in grid]
    return Workload(
        runs=runs,
        actual_s={run.key: actual_s[run.cell.cell_id] for run in runs},
        rough_s={run.key: rough_s[run.cell.cell_id] for run in runs},
    )


@dataclass(eq=False)
class _Worker:
    shape: WorkerShape
    nodes: Sequence[Node]
    units: dict[str, float]
    loaded: str | None = None
    run: Run | None = None
    began_s: float = 0.0


class Simulation:
    """One sweep in virtual time.

    Args:
        workload: The runs.
        gpus: GPUs of the cluster, 8 to a node.
        load_s: Time to load another model. Unit: s.
        node_failures_per_hour: Share of the nodes that fail for good each hour.
        keep_models: Whether workers may stay with their model; if not, the longest remaining run is always next.
        seed: Of the nodes' failures.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        gpus: int,
        load_s: float = 20.0,
        node_failures_per_hour: float = 0.0,
        keep_models: bool = True,
        seed: int = 0,
    ) -> None:
        self._workload = workload
        self._load_s = load_s
        self._keep_models = keep_models
        nodes = [
            Node(id=f"{index:04}", host=f"n{index}", card="H100", capacity=8, cpus=64) for index in range(gpus // 8)
        ]
        self._cluster = Cluster(device="cuda", units_per_process=1, exclusive_node=False, strategy="STRICT_PACK")
        self._cluster.nodes = {node.id: node for node in nodes}
        self._backlog = Backlog(workload.runs, keep_order=False)
        for model in dict.fromkeys(run.cell.model_key for run in workload.runs):
            self._backlog.release(model, self._run_times)
        self._workers: set[_Worker] = set()
        self._events: list[tuple[float, int, _Worker | Node]] = []
        self._order = count()
        self._now_s = 0.0
        work_s = sum(workload.actual_s[run.key] * run.cell.world_size for run in workload.runs)
        self.report = Report(bound_s=max(work_s / gpus, *workload.actual_s.values()))
        draw = random.Random(seed)
        for node in nodes if node_failures_per_hour else ():
            self._at(draw.expovariate(node_failures_per_hour) * HOUR_S, node)

    def run(self) -> Report:
        """Simulate the sweep until every run is done."""
        self._open()
        while self._backlog or any(worker.run for worker in self._workers):
            self._now_s, _, what = heapq.heappop(self._events)
            if isinstance(what, Node):
                self._fail(what)
            elif what in self._workers:
                self._finish(what)
        return self.report

    def _run_times(self, run: Run) -> RunTimes:
        return RunTimes(self._workload.rough_s[run.key], self._load_s)

    def _at(self, time_s: float, what: "_Worker | Node") -> None:
        heapq.heappush(self._events, (time_s, next(self._order), what))

    def _open(self) -> None:
        opened = True
        while opened:
            opened = False
            for shape in self._backlog.by_need(Counter(worker.shape for worker in self._workers)):
                if nodes := self._cluster.place(shape):
                    worker = _Worker(shape, nodes, self._cluster.take(nodes))
                    self._workers.add(worker)
                    self._feed(worker)
                    opened = True
                    break

    def _feed(self, worker: _Worker) -> None:
        run = self._backlog.take(worker.shape, loaded=worker.loaded if self._keep_models else None)
        if run is None:
            self._close(worker)
            return
        loads = worker.loaded != run.cell.load_key
        self.report.loads += loads
        worker.run, worker.loaded, worker.began_s = run, run.cell.load_key, self._now_s
        self._at(self._now_s + self._workload.actual_s[run.key] + loads * self._load_s, worker)

    def _finish(self, worker: _Worker) -> None:
        assert worker.run is not None
        self.report.done.append(worker.run.key)
        self.report.worked_s += (self._now_s - worker.began_s) * worker.shape.processes
        self.report.makespan_s = self._now_s
        worker.run = None
        self._feed(worker)
        self._open()

    def _fail(self, node: Node) -> None:
        self.report.failed_nodes += 1
        del self._cluster.nodes[node.id]
        for worker in [worker for worker in self._workers if node in worker.nodes]:
            self._close(worker)
            if worker.run is not None:
                lost_s = (self._now_s - worker.began_s) * worker.shape.processes
                self.report.worked_s += lost_s
                self.report.repeated_s += lost_s
                self._backlog.put(worker.run, self._run_times(worker.run))
        self._open()

    def _close(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._cluster.give_back(worker.units)
