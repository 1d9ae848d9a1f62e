"""Which run is next. Pure, so that the cluster and the simulator use the same code.

Three rules:

- The longest remaining run goes first. Longest processing time first keeps the end of the sweep close to the lower
  bound (Graham 1969).
- Short runs go by rounds: all first repeats before any second one. A few seconds of load then slow one repeat of
  several cells, and not all repeats of one cell, which would agree with one another.
- A worker stays with its loaded model while that model's longest run is nearly as long as any other, and through
  several rounds where loading another model would cost too much. This avoids most loads
  (`benchmarks/schedule_simulator.py`).

With any `order` other than `longest_first`, runs go in exactly that order.
"""

import math
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from workers.records import Run

_NEARLY = 0.5
"""A run counts as nearly as long from this share of the longest run's time."""

SPREAD_S = 60.0
"""How far apart the repeats of a cell should begin: as long as the bursts of load that `compare` has to withstand. Runs
that take this long need no rounds. Unit: s."""

_LOADING = 0.25
"""A worker changes models between two rounds only if loading takes at most this share of a round's time."""


_LONG = -1
"""The round of runs that need no rounds: it comes before all others."""


class RunTimes(NamedTuple):
    """How long a run is predicted to take. Unit: s."""

    run_s: float
    """Without loading."""
    load_s: float = math.inf
    """Time to load its model; infinite where that is not known."""


class WorkerShape(NamedTuple):
    """What a run requires of a worker."""

    processes: int
    """Over all replicas."""
    tensor_parallel: int = 1
    """How many of them share one model."""
    card: str | None = None
    """Ray's name of the card's type; null: any."""
    engine: str = "transformers"
    """What it generates with."""


class _Entry(NamedTuple):
    """A run in its queue; entries sort by `rank`."""

    rank: tuple[int, float, int]
    """Round, the longest first, place in the sweep; only the place where the sweep sets the order."""
    times: RunTimes
    run: Run


def shape_of(run: Run) -> WorkerShape:
    """The shape of the workers that can take `run`."""
    return WorkerShape(run.cell.world_size, run.cell.tensor_parallel, run.cell.accelerator_type, run.cell.engine)


class Backlog:
    """Runs that have not begun, by shape of worker and by what they load.

    Args:
        runs: In the order of the sweep.
        keep_order: Whether to keep that order; otherwise short runs go by rounds, models are kept together, and long
            runs go first.
    """

    def __init__(self, runs: Sequence[Run], *, keep_order: bool) -> None:
        self._keep_order = keep_order
        self._place = {run.key: place for place, run in enumerate(runs)}
        self._waiting: dict[str, list[Run]] = defaultdict(list)
        self._queues: dict[WorkerShape, dict[str, list[_Entry]]] = defaultdict(lambda: defaultdict(list))
        self._count: Counter[WorkerShape] = Counter()
        self._cost_s: dict[WorkerShape, float] = defaultdict(float)
        self._round_s: dict[str, dict[str, float]] = defaultdict(dict)
        """Time of one repeat of each cell, by `load_key` and `cell_id`: the sum is a round of that model. Unit: s."""
        for run in runs:
            self._waiting[run.cell.model_key].append(run)

    def __len__(self) -> int:
        """Runs that have not begun."""
        return sum(map(len, self._waiting.values())) + self._count.total()

    def release(self, model: str, times: Callable[[Run], RunTimes]) -> None:
        """Release the runs of a model: it is prepared, and their times are predicted."""
        for run in self._waiting.pop(model, ()):
            self.put(run, times(run))

    def discard(self, model: str) -> list[Run]:
        """Take out every waiting run of a model that cannot be prepared."""
        return self._waiting.pop(model, [])

    def put(self, run: Run, times: RunTimes) -> None:
        """Queue a run, for the first time or again."""
        shape, place = shape_of(run), self._place[run.key]
        turn = run.repeat if times.run_s < SPREAD_S else _LONG
        rank = (0, 0.0, place) if self._keep_order else (turn, -times.run_s, place)
        insort(self._queues[shape][run.cell.load_key], _Entry(rank, times, run))
        self._round_s[run.cell.load_key][run.cell.cell_id] = times.run_s
        self._count[shape] += 1
        self._cost_s[shape] += times.run_s

    def shapes(self) -> dict[WorkerShape, int]:
        """Shapes of workers that have runs, each with its number of runs.

        The largest shape comes first, since it is the hardest to place; of equals, those that name a card.
        """
        return _largest_first(self._count)

    def expected(self) -> dict[WorkerShape, int]:
        """As `shapes`, including runs whose model is still being prepared: their workers may start meanwhile."""
        waiting = Counter(shape_of(run) for runs in self._waiting.values() for run in runs)
        return _largest_first(self._count + waiting)

    def by_need(self, workers: Mapping[WorkerShape, int]) -> list[WorkerShape]:
        """The shapes of `expected`; the one with the most time left per worker (and one more) comes first.

        Shapes that share a cluster then end together. Of two with equal need, the larger is placed first.
        """
        return sorted(self.expected(), key=lambda shape: -self._cost_s[shape] / (workers.get(shape, 0) + 1))

    def take(
        self, shape: WorkerShape, *, loaded: str | None, fits: Callable[[Run], bool] = lambda _: True
    ) -> Run | None:
        """The next run for a worker of `shape`; null where it can take none.

        Args:
            shape: The worker's.
            loaded: `load_key` of the model that the worker has loaded.
            fits: Whether this worker can take a run; its card may not support every one.
        """
        heads = {
            key: place
            for key, queue in self._queues[shape].items()
            if (place := next((place for place, entry in enumerate(queue) if fits(entry.run)), None)) is not None
        }
        if not heads:
            return None
        first = {key: self._queues[shape][key][place] for key, place in heads.items()}
        key = self._choose(first, loaded)
        if self._keep_order and self._waits_for_an_earlier_one(first[key]):
            return None
        entry = self._queues[shape][key].pop(heads[key])
        if not self._queues[shape][key]:
            del self._queues[shape][key]
        self._count[shape] -= 1
        self._cost_s[shape] -= entry.times.run_s
        return entry.run

    def _choose(self, heads: Mapping[str, _Entry], loaded: str | None) -> str:
        first = min(heads, key=lambda key: heads[key].rank)
        if self._keep_order or loaded is None or loaded not in heads:
            return first
        return loaded if self._stays(heads[loaded], heads[first]) else first

    def _stays(self, head: _Entry, first: _Entry) -> bool:
        """Whether a worker takes `head`, the next run of its loaded model, though `first` of another model is due.

        Within one round it does if `head` is nearly as long, or if loading takes longer than `first`. It begins the
        model's next round if such a round alone spreads the repeats far enough, or if loading takes long beside it.
        """
        run_s, load_s = first.times
        if head.rank[0] == first.rank[0] or first.rank[0] == _LONG:
            return head.times.run_s >= _NEARLY * run_s or (first.rank[0] != _LONG and load_s > run_s)
        round_s = sum(self._round_s[head.run.cell.load_key].values())
        return round_s >= SPREAD_S or load_s > _LOADING * round_s

    def _waits_for_an_earlier_one(self, entry: _Entry) -> bool:
        """Whether a run that comes earlier in the sweep's order is not prepared yet."""
        return any(self._place[runs[0].key] < entry.rank[2] for runs in self._waiting.values())

    def remaining(self) -> Iterator[Run]:
        """Every run that has not begun."""
        for runs in self._waiting.values():
            yield from runs
        for queues in self._queues.values():
            for queue in queues.values():
                yield from (entry.run for entry in queue)

    def withdraw(self, run: Run) -> list[Run]:
        """Take out the remaining repeats of a run's cell, and return them."""
        shape, cell = shape_of(run), run.cell
        queue = self._queues[shape].get(cell.load_key, [])
        repeats = [entry for entry in queue if entry.run.cell.cell_id == cell.cell_id]
        for entry in repeats:
            queue.remove(entry)
            self._cost_s[shape] -= entry.times.run_s
        self._count[shape] -= len(repeats)
        if repeats and not queue:
            del self._queues[shape][cell.load_key]
        self._round_s[cell.load_key].pop(cell.cell_id, None)
        return [entry.run for entry in repeats]

    def remove(self, runs: Iterable[Run]) -> None:
        """Take these runs out, prepared or not."""
        keys = {run.key for run in runs}
        for model, waiting in list(self._waiting.items()):
            self._waiting[model] = [run for run in waiting if run.key not in keys]
            if not self._waiting[model]:
                del self._waiting[model]
        for shape, queues in self._queues.items():
            for key, queue in list(queues.items()):
                queues[key] = [entry for entry in queue if entry.run.key not in keys]
                if not queues[key]:
                    del queues[key]
            self._count[shape] = sum(map(len, queues.values()))
            self._cost_s[shape] = sum(entry.times.run_s for queue in queues.values() for entry in queue)


def _largest_first(counts: Counter[WorkerShape]) -> dict[WorkerShape, int]:
    shapes = sorted(
        counts, key=lambda shape: (-shape.processes, -shape.tensor_parallel, shape.card is None, shape.card or "")
    )
    return {shape: counts[shape] for shape in shapes if counts[shape]}
