"""Which run is next. Pure, so that the same code serves the cluster and the simulator.

Three rules. The longest run left goes first: longest processing time first keeps the end of the sweep close to the
lower bound (Graham 1969). But short runs go by rounds, all first repeats before any second one: a few seconds of load
then slow one repeat of several cells, not all repeats of one, which would look certain. And a worker stays with the
model that it has loaded while that model's longest run is nearly as long as any, and through several rounds where
loading another one would cost too much, which saves most loads (`benchmarks/schedule_simulator.py`). A sweep that asks
for an order gets that order.
"""

import math
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from workers.records import Run

_NEARLY = 0.5
"""Share of the longest run's time from which a run counts as nearly as long."""

SPREAD_S = 60.0
"""How far apart the repeats of a cell should begin: as long as the bursts of load that `compare` has to withstand. Runs
that take this long themselves need no rounds."""

_LOADING = 0.25
"""A model is left between two rounds only while loading the next one takes at most this share of a round's time."""


_LONG = -1
"""The round of runs that need none, before all others."""


class Forecast(NamedTuple):
    """What a run is predicted to take. Unit: s."""

    run_s: float
    """Without loading."""
    load_s: float = math.inf
    """Loading its model; infinite where that is not known."""


class Kind(NamedTuple):
    """What a worker must be for a run."""

    processes: int
    """Over all replicas."""
    tensor_parallel: int = 1
    """How many of them meet to share one model."""
    card: str | None = None
    """The card's type in Ray's words; null: any."""


class _Entry(NamedTuple):
    """A run in its queue; tuples sort by what comes first."""

    rank: tuple[int, float, int]
    """Round, the longest first, place in the sweep; the place alone where an order was asked for."""
    forecast: Forecast
    run: Run


def kind_of(run: Run) -> Kind:
    """The kind of worker that can take `run`."""
    return Kind(run.cell.world_size, run.cell.tensor_parallel, run.cell.accelerator_type)


class Backlog:
    """Runs that have not begun, by kind of worker and by what they load.

    Args:
        runs: In the order of the sweep.
        keep_order: Whether that order binds; otherwise short runs go by rounds, models are kept together, and long runs
            go first.
    """

    def __init__(self, runs: Sequence[Run], *, keep_order: bool) -> None:
        self._keep_order = keep_order
        self._place = {run.key: place for place, run in enumerate(runs)}
        self._waiting: dict[str, list[Run]] = defaultdict(list)
        self._queues: dict[Kind, dict[str, list[_Entry]]] = defaultdict(lambda: defaultdict(list))
        self._count: Counter[Kind] = Counter()
        self._cost_s: dict[Kind, float] = defaultdict(float)
        self._round_s: dict[str, dict[str, float]] = defaultdict(dict)
        """What a repeat of each cell takes, by `load_key` and `cell_id`: together a round of that model."""
        for run in runs:
            self._waiting[run.cell.model_key].append(run)

    def __len__(self) -> int:
        """Runs that have not begun."""
        return sum(map(len, self._waiting.values())) + self._count.total()

    def release(self, model: str, forecast: Callable[[Run], Forecast]) -> None:
        """Let the runs of a model go: it is prepared, and what they take is predicted."""
        for run in self._waiting.pop(model, ()):
            self.put(run, forecast(run))

    def discard(self, model: str) -> list[Run]:
        """Take out every waiting run of a model that cannot be prepared."""
        return self._waiting.pop(model, [])

    def put(self, run: Run, forecast: Forecast) -> None:
        """Offer a run, for the first time or again."""
        kind, place = kind_of(run), self._place[run.key]
        turn = run.repeat if forecast.run_s < SPREAD_S else _LONG
        rank = (0, 0.0, place) if self._keep_order else (turn, -forecast.run_s, place)
        insort(self._queues[kind][run.cell.load_key], _Entry(rank, forecast, run))
        self._round_s[run.cell.load_key][run.cell.cell_id] = forecast.run_s
        self._count[kind] += 1
        self._cost_s[kind] += forecast.run_s

    def kinds(self) -> dict[Kind, int]:
        """Kinds of workers that have something to do, with how many runs.

        The largest kind first, for it finds room least easily; of equals, those that only some nodes can take.
        """
        return _largest_first(self._count)

    def expected(self) -> dict[Kind, int]:
        """As `kinds`, with the runs whose model is still being prepared: workers may start in the meantime."""
        waiting = Counter(kind_of(run) for runs in self._waiting.values() for run in runs)
        return _largest_first(self._count + waiting)

    def by_need(self, workers: Mapping[Kind, int]) -> list[Kind]:
        """Kinds that are expected, the one with the most left for each of its workers (and one more) first.

        So kinds that share a cluster end together, and of two that need alike the larger has the first choice of room.
        """
        return sorted(self.expected(), key=lambda kind: -self._cost_s[kind] / (workers.get(kind, 0) + 1))

    def take(self, kind: Kind, *, loaded: str | None, fits: Callable[[Run], bool] = lambda _: True) -> Run | None:
        """The next run for a worker of `kind`; null where it can do none of them.

        Args:
            kind: What the worker is.
            loaded: `load_key` of the model that the worker holds.
            fits: Whether this very worker can take a run (another card may).
        """
        heads = {
            key: place
            for key, queue in self._queues[kind].items()
            if (place := next((place for place, entry in enumerate(queue) if fits(entry.run)), None)) is not None
        }
        if not heads:
            return None
        first = {key: self._queues[kind][key][place] for key, place in heads.items()}
        key = self._choose(first, loaded)
        if self._keep_order and self._waits_for_an_earlier_one(first[key]):
            return None
        entry = self._queues[kind][key].pop(heads[key])
        if not self._queues[kind][key]:
            del self._queues[kind][key]
        self._count[kind] -= 1
        self._cost_s[kind] -= entry.forecast.run_s
        return entry.run

    def _choose(self, heads: Mapping[str, _Entry], loaded: str | None) -> str:
        first = min(heads, key=lambda key: heads[key].rank)
        if self._keep_order or loaded is None or loaded not in heads:
            return first
        return loaded if self._stays(heads[loaded], heads[first]) else first

    def _stays(self, head: _Entry, first: _Entry) -> bool:
        """Whether a worker takes `head`, the next run of its loaded model, though `first` of another model is due.

        In one round it does while `head` is nearly as long, or where loading takes longer than `first`. It begins the
        model's next round where such a round alone spreads the repeats far enough, or where loading is dear beside it.
        """
        run_s, load_s = first.forecast
        if head.rank[0] == first.rank[0] or first.rank[0] == _LONG:
            return head.forecast.run_s >= _NEARLY * run_s or (first.rank[0] != _LONG and load_s > run_s)
        round_s = sum(self._round_s[head.run.cell.load_key].values())
        return round_s >= SPREAD_S or load_s > _LOADING * round_s

    def _waits_for_an_earlier_one(self, entry: _Entry) -> bool:
        """Whether a run that comes before it in the sweep's order is not prepared yet."""
        return any(self._place[runs[0].key] < entry.rank[2] for runs in self._waiting.values())

    def remaining(self) -> Iterator[Run]:
        """Every run that has not begun."""
        for runs in self._waiting.values():
            yield from runs
        for queues in self._queues.values():
            for queue in queues.values():
                yield from (entry.run for entry in queue)

    def withdraw(self, run: Run) -> list[Run]:
        """Take out the other repeats of a run's cell, which are no longer to be made."""
        kind, cell = kind_of(run), run.cell
        queue = self._queues[kind].get(cell.load_key, [])
        repeats = [entry for entry in queue if entry.run.cell.cell_id == cell.cell_id]
        for entry in repeats:
            queue.remove(entry)
            self._cost_s[kind] -= entry.forecast.run_s
        self._count[kind] -= len(repeats)
        if repeats and not queue:
            del self._queues[kind][cell.load_key]
        self._round_s[cell.load_key].pop(cell.cell_id, None)
        return [entry.run for entry in repeats]

    def remove(self, runs: Iterable[Run]) -> None:
        """Take these out, wherever they are."""
        keys = {run.key for run in runs}
        for model, waiting in list(self._waiting.items()):
            self._waiting[model] = [run for run in waiting if run.key not in keys]
            if not self._waiting[model]:
                del self._waiting[model]
        for kind, queues in self._queues.items():
            for key, queue in list(queues.items()):
                queues[key] = [entry for entry in queue if entry.run.key not in keys]
                if not queues[key]:
                    del queues[key]
            self._count[kind] = sum(map(len, queues.values()))
            self._cost_s[kind] = sum(entry.forecast.run_s for queue in queues.values() for entry in queue)


def _largest_first(counts: Counter[Kind]) -> dict[Kind, int]:
    kinds = sorted(
        counts, key=lambda kind: (-kind.processes, -kind.tensor_parallel, kind.card is None, kind.card or "")
    )
    return {kind: counts[kind] for kind in kinds if counts[kind]}
