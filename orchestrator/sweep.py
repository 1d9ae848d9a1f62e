"""The flow of a sweep: plan the runs, schedule them, journal their outcomes, aggregate, write the tables."""

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path

from rich.console import Console

from orchestrator import aggregate, grid, schedule, store
from orchestrator.config import SweepConfig
from orchestrator.interrupt import Interrupted, Interruptible
from orchestrator.progress import Progress
from orchestrator.results import provenance
from orchestrator.results.rows import AggregatedResult, RawRow, SweepInfo
from orchestrator.results.writer import Summary, write_tables
from orchestrator.store import location
from workers.records import Cell, Outcome, Run


@dataclass(frozen=True)
class Finished:
    """The end of a sweep."""

    out: str
    """The results' location, without credentials."""
    url: str = field(repr=False)
    """The results' location with its credentials, for opening it."""
    summary: Summary
    """A summary of the tables."""


def run(
    sweep: SweepConfig, *, folder: Path, console: Console, fresh: bool = False, retry_failed: bool = False
) -> Finished:
    """Run the remaining runs of a sweep, and write its tables.

    Args:
        sweep: The sweep.
        folder: The folder of the sweep file.
        console: Where to print progress.
        fresh: Discard the results of earlier runs first.
        retry_failed: Measure failed runs again.

    Raises:
        StoreError: The results cannot be written; finished runs are safe.
        ClusterError: No Ray cluster can be joined or started.
        ClusterLost: Ray was lost during the sweep; the same command continues it.
        Interrupted: A signal stopped the sweep; the same command continues it.
    """
    with Interruptible() as signals, _signals_first(signals):
        cells = grid.expand(sweep)
        info = provenance.sweep_info(sweep, folder)

        @cache  # connects after the folder is locked: a driver without the lock starts no cluster
        def cluster() -> schedule.Cluster:
            connected = schedule.connect(sweep)
            signals.install()
            return connected

        url = location.resolve(sweep.out, on_head=lambda: bool(cluster()) and schedule.driver_is_on_head())
        out = store.Folder(url, stopping=lambda: signals.received is not None)
        with store.only_driver(out) as hold:
            for line in (cluster().summary, f"results: {out.out}"):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            journal = store.Journal(out, provenance.fingerprint(), cluster().device, hold)
            if sweep.placement.one_row_per_card:
                cells = grid.per_card(cells, sorted(card for card in cluster().cards if card))
            logs = store.Logs(out)
            if fresh:
                with signals.held():
                    journal.clear()
                    logs.clear()
            runs = grid.runs(cells, sweep)
            done = _done(runs, journal, console, retry_failed=retry_failed)
            outcomes = schedule.run(
                grid.pending(runs, done),
                sweep,
                cluster(),
                passed={grid.cell_id(key) for key, status in done.items() if status == "ok"},
                texts=_texts(sweep),
                stop=lambda: signals.received is not None or journal.refused or hold.lost,
            )
            with Progress(len(runs), len(done), console) as progress, signals.held():
                _store_outcomes(outcomes, logs, journal, progress)
                hold.check()
            summary = write_tables(out, _rows(cells, sweep, info, journal))
            _report_omitted_runs(journal, runs, console)
    return Finished(out.out, url, summary)


@contextlib.contextmanager
def _signals_first(signals: Interruptible) -> Iterator[None]:
    """After a signal, raise `Interrupted` instead of a `StoreError`, with the error as its cause."""
    try:
        yield
    except store.StoreError as error:
        if signals.received is None:
            raise
        raise Interrupted(signals.received) from error


def _report_omitted_runs(journal: store.Journal, runs: Sequence[Run], console: Console) -> None:
    """Print how many finished runs of the journal the tables omit because the sweep does not contain them."""
    omitted = journal.others({run.key for run in runs})
    if omitted:
        cells = len(set(map(grid.cell_id, omitted)))
        console.print(
            f"not in the tables: {len(omitted)} finished run{'' if len(omitted) == 1 else 's'} of {cells} "
            f"cell{'' if cells == 1 else 's'} that this sweep does not contain; a sweep that contains them shows them "
            "again without measuring",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _store_outcomes(outcomes: Generator[Outcome], logs: store.Logs, journal: store.Journal, progress: Progress) -> None:
    """Write every outcome to the journal, even after a failed write; raise its error at the end."""
    with contextlib.closing(outcomes):
        for ended in outcomes:
            outcome = logs.with_log_path(ended)
            journal.append(outcome)
            if not journal.refused:  # journal first: a result must not wait for a log
                logs.write(outcome)
            progress.add(outcome)
    journal.check()


def _done(runs: Sequence[Run], journal: store.Journal, console: Console, *, retry_failed: bool) -> Mapping[str, str]:
    """The finished runs, key -> status. Prints which journal files could not be read."""
    done = journal.finished(retry_failed=retry_failed, among={run.key for run in runs})
    for path in journal.move_corrupt():
        console.print(
            f"unreadable journal file moved to {path}; its run is measured again", markup=False, soft_wrap=True
        )
    return done


def _rows(
    cells: Sequence[Cell], sweep: SweepConfig, info: SweepInfo, journal: store.Journal
) -> Iterator[tuple[AggregatedResult, Sequence[RawRow]]]:
    """The rows of each cell in the order of the sweep, with one cell in memory at a time."""
    references = _references(cells, sweep, journal)
    all_outcomes = journal.outcomes(Run(cell=cell, repeat=repeat) for cell in cells for repeat in range(sweep.repeats))
    for cell in cells:
        outcomes = list(islice(all_outcomes, sweep.repeats))
        result = aggregate.aggregate(
            cell,
            outcomes,
            info,
            repeats_asked=sweep.repeats,
            reference_perplexity=references.get(cell.model_key),
            emissions=sweep.emissions,
        )
        yield result, aggregate.raw_rows(cell, outcomes, info)


def _references(cells: Sequence[Cell], sweep: SweepConfig, journal: store.Journal) -> Mapping[str, float]:
    reference = sweep.degradation_against
    if reference is None:
        return {}
    reference_runs = [Run(cell=cell, repeat=0) for cell in cells if cell.precision == reference]
    return aggregate.reference_perplexities(journal.outcomes(reference_runs))


def _texts(sweep: SweepConfig) -> dict[str, Sequence[str]]:
    texts: dict[str, Sequence[str]] = {}
    if sweep.text_prompts:
        texts[sweep.text_prompts.sha256] = sweep.prompt_texts
    if sweep.quality_spec and sweep.quality_text is not None:
        texts[sweep.quality_spec.sha256] = (sweep.quality_text,)
    return texts
