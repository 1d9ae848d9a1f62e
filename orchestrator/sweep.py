"""The sweep itself: plan, schedule, journal, aggregate, write. Everything else hangs on this one flow."""

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator import aggregate, durable, plan, provenance, schedule, store
from orchestrator.config import SweepConfig
from orchestrator.interrupt import Interrupted, Interruptible
from orchestrator.progress import Progress
from orchestrator.results import AggregatedResult, RawRow, SweepInfo
from workers.records import Cell, Outcome, Run

SHOWN = 100
"""Rows of the closing table; the rest stands in the file."""


@dataclass
class Finished:
    """How a sweep ended."""

    out: str
    """Where the results lie, as it may be shown."""
    url: str = field(repr=False)
    """The same with the credentials that `out` may hold, for whoever opens it."""
    shown: list[AggregatedResult] = field(default_factory=list)
    """The first rows, for the closing table."""
    cells: int = 0
    ok: int = 0
    unsupported: int = 0
    """Cells that were skipped because the card or a library cannot do them."""

    @property
    def exit_code(self) -> int:
        """0 when every cell is ok, or skipped because the card or a library cannot do it."""
        return 0 if self.ok + self.unsupported == self.cells else 1


def run(
    sweep: SweepConfig,
    *,
    folder: Path,
    console: Console,
    fresh: bool = False,
    retry_failed: bool = False,
    **equipment: Callable[..., Any],
) -> Finished:
    """Run what is left of a sweep, and write its tables.

    Args:
        sweep: What to run.
        folder: Where the sweep file lies.
        console: Where progress goes.
        fresh: Forget what was measured before.
        retry_failed: Measure failed runs again.
        equipment: `make` and `estimate` of `schedule.run`, for stand-ins that need no model.

    Raises:
        StoreError: The results cannot be kept; what is finished is safe.
        ClusterError: There is no Ray to run on.
        ClusterLost: Ray is gone in the middle; the same command goes on later.
        Interrupted: Somebody asked to stop; the same command goes on later.
    """
    with Interruptible() as signals, _asked_to_stop(signals):
        cells = plan.expand(sweep)
        info = provenance.sweep_info(sweep, folder)

        @cache  # connected to only once the folder is held: a driver that is refused starts no cluster
        def cluster() -> schedule.Cluster:
            found = schedule.connect(sweep)
            signals.take()
            return found

        url = durable.place(sweep.out, on_head=lambda: bool(cluster()) and schedule.driver_is_on_head())
        out = store.Folder(url, hurried=lambda: signals.asked is not None)
        with store.only_driver(out) as hold:
            console.print(cluster().summary, markup=False, highlight=False, soft_wrap=True)
            console.print(f"results: {out.out}", markup=False, highlight=False, soft_wrap=True)
            journal = store.Journal(out, provenance.fingerprint(), cluster().device, hold)
            if sweep.placement.one_row_per_card:
                cells = plan.per_card(cells, sorted(card for card in cluster().cards if card))
            logs = store.Logs(out)
            if fresh:
                with signals.held():
                    journal.clear()
                    logs.clear()
            runs = plan.runs(cells, sweep)
            done = _done(runs, journal, console, retry_failed=retry_failed)
            pending = plan.pending(runs, done)
            outcomes = schedule.run(
                pending,
                sweep,
                cluster(),
                passed={plan.cell_id(key) for key, status in done.items() if status == "ok"},
                texts=_texts(sweep),
                stop=lambda: signals.asked is not None or journal.refused or hold.lost,
                **equipment,
            )
            with Progress(len(runs), len(runs) - len(pending), console) as progress, signals.held():
                _take_in(outcomes, logs, journal, progress)
                hold.check()
            finished = Finished(out=out.out, url=url)
            store.write_tables(out, _rows(cells, sweep, info, journal, finished))
            _say_what_is_left_out(journal, runs, console)
    return finished


@contextlib.contextmanager
def _asked_to_stop(signals: Interruptible) -> Iterator[None]:
    """What is refused while somebody waits for the end is told, but the end is the one that was asked for."""
    try:
        yield
    except store.StoreError as error:
        if signals.asked is None:
            raise
        raise Interrupted(signals.asked) from error


def _say_what_is_left_out(journal: store.Journal, runs: Sequence[Run], console: Console) -> None:
    """The journal may hold more than this sweep asks for: its tables are of this sweep alone."""
    left_out = journal.others({run.key for run in runs})
    if left_out:
        cells = len(set(map(plan.cell_id, left_out)))
        console.print(
            f"left out of the tables: {len(left_out)} finished run{'' if len(left_out) == 1 else 's'} of {cells} "
            f"cell{'' if cells == 1 else 's'} that this sweep does not ask for; a sweep file that asks for them shows "
            "them again, without measuring",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _take_in(outcomes: Generator[Outcome], logs: store.Logs, journal: store.Journal, progress: Progress) -> None:
    """Keep every run that has ended, also those that end while one cannot be written; then say so."""
    with contextlib.closing(outcomes):
        for ended in outcomes:
            outcome = logs.named(ended)
            journal.append(outcome)
            if not journal.refused:  # no result waits for a log
                logs.keep(outcome)
            progress.saw(outcome)
    journal.check()


def _done(runs: Sequence[Run], journal: store.Journal, console: Console, *, retry_failed: bool) -> Mapping[str, str]:
    """The runs that are finished, by key, with what they came to; what cannot be read in the journal is named."""
    done = journal.finished(retry_failed=retry_failed, among={run.key for run in runs})
    for path in journal.set_corrupt_aside():
        console.print(f"measured anew, for its file could not be read: {path}", markup=False, soft_wrap=True)
    return done


def _rows(
    cells: Sequence[Cell], sweep: SweepConfig, info: SweepInfo, journal: store.Journal, finished: Finished
) -> Iterator[tuple[AggregatedResult, Sequence[RawRow]]]:
    """Each cell's rows in the sweep's order, one cell in memory at a time."""
    references = _references(cells, sweep, journal)
    every = journal.outcomes(Run(cell=cell, repeat=repeat) for cell in cells for repeat in range(sweep.repeats))
    for cell in cells:
        outcomes = list(islice(every, sweep.repeats))
        result = aggregate.aggregate(
            cell,
            outcomes,
            info,
            repeats_asked=sweep.repeats,
            reference_perplexity=references.get(cell.model_key),
            emissions=sweep.emissions,
        )
        finished.cells += 1
        finished.ok += result.status == "ok"
        finished.unsupported += result.status == "skipped" and result.error_type != schedule.NO_ROOM
        if len(finished.shown) < SHOWN:
            finished.shown.append(result)
        yield result, aggregate.raw_rows(cell, outcomes, info)


def _references(cells: Sequence[Cell], sweep: SweepConfig, journal: store.Journal) -> Mapping[str, float]:
    reference = sweep.degradation_against
    if reference is None:
        return {}
    plain = [Run(cell=cell, repeat=0) for cell in cells if cell.precision == reference]
    return aggregate.reference_perplexities(journal.outcomes(plain))


def _texts(sweep: SweepConfig) -> dict[str, Sequence[str]]:
    texts: dict[str, Sequence[str]] = {}
    if sweep.text_prompts:
        texts[sweep.text_prompts.sha256] = sweep.prompt_texts
    if sweep.quality_spec and sweep.quality_text is not None:
        texts[sweep.quality_spec.sha256] = (sweep.quality_text,)
    return texts
