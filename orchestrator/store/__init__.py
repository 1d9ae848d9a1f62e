"""Results on disk or in a bucket: the journal of finished runs, and the Parquet tables made from it.

out/
  journal/CELL.REPEAT.json   each finished run, written before the next is taken in
  journal-corrupt/           files of the journal that could not be read
  driver.lock                which driver writes here
  raw.parquet                a row per rank and repeat
  results.parquet            a row per cell
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import pyarrow.parquet as pq

from orchestrator import columns
from orchestrator.results import AggregatedResult, RawRow
from orchestrator.store.folder import Folder, StoreError
from orchestrator.store.journal import Journal
from orchestrator.store.lock import Hold, only_driver
from workers.records import Record

__all__ = ["RAW", "RESULTS", "Folder", "Hold", "Journal", "StoreError", "finished", "only_driver", "write_tables"]

RAW = "raw.parquet"
RESULTS = "results.parquet"
_ROWS_AT_ONCE = 500
"""Rows held in memory while writing: the driver's memory must not grow with the sweep."""

Row = TypeVar("Row", bound=Record)


def finished(out: str, environment: str, *, retry_failed: bool = False) -> set[str]:
    """Keys of the runs that `out` holds already. Changes nothing there, and does not hold the folder."""
    return Journal(Folder(out), environment).finished(retry_failed=retry_failed)


def write_tables(folder: Folder, rows: Iterable[tuple[AggregatedResult, Sequence[RawRow]]]) -> None:
    """Write both tables side by side, a batch of cells at a time; each takes its name when it is whole.

    Raises:
        StoreError: A table could not be written; the one that stood there before still does.
    """
    with contextlib.ExitStack() as stack:
        results = stack.enter_context(_writer(folder, RESULTS, AggregatedResult))
        raw = stack.enter_context(_writer(folder, RAW, RawRow))
        rows = iter(rows)
        while batch := list(islice(rows, _ROWS_AT_ONCE)):
            results.write_table(columns.table(AggregatedResult, [result for result, _ in batch]))
            raw.write_table(columns.table(RawRow, [row for _, some in batch for row in some]))


@contextlib.contextmanager
def _writer(folder: Folder, name: str, model: type[Record]) -> Iterator[pq.ParquetWriter]:
    with folder.writing(name) as file, pq.ParquetWriter(file, columns.schema(model), compression="zstd") as writer:
        yield writer
