"""Writes the two Parquet tables as a pair.

Both contain the same random id, which the reader compares: after a crash or a failed upload between the two, one table
is new and one is old, and their rows do not belong together.
"""

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.results import columns
from orchestrator.results.rows import AggregatedResult, RawRow
from orchestrator.store.folder import Folder
from orchestrator.store.seal import SealedFile
from workers.records import NO_CAPACITY, Record

RAW = "raw.parquet"
RESULTS = "results.parquet"

_PAIR_ID = b"joulegrid_writing"
"""Metadata key of the id that both tables of a pair share."""

_BATCH = 500
"""Cells written at a time, so that the driver's memory does not grow with the sweep."""

Row = TypeVar("Row", bound=Record)


MAX_FIRST_ROWS = 100
"""Largest number of rows in the table that is printed after a sweep."""


@dataclass
class Summary:
    """A summary of the tables, printed after a sweep."""

    first_rows: list[AggregatedResult] = field(default_factory=list)
    """The first rows, for printing."""
    cells: int = 0
    ok: int = 0
    unsupported: int = 0
    """Cells that were skipped because the card or a library does not support them."""

    def add(self, row: AggregatedResult) -> None:
        """Add a cell."""
        self.cells += 1
        self.ok += row.status == "ok"
        self.unsupported += row.status == "skipped" and row.error_type != NO_CAPACITY
        if len(self.first_rows) < MAX_FIRST_ROWS:
            self.first_rows.append(row)

    @property
    def exit_code(self) -> int:
        """0 when every cell is ok, or skipped because the card or a library does not support it."""
        return 0 if self.ok + self.unsupported == self.cells else 1


def write_tables(folder: Folder, rows: Iterable[tuple[AggregatedResult, Sequence[RawRow]]]) -> Summary:
    """Write both tables, a batch of cells at a time; they appear under their names when both are complete.

    Args:
        folder: The output folder.
        rows: Each cell's row of `results.parquet`, with its rows of `raw.parquet`.

    Raises:
        StoreError: A table could not be written. Unless the message names only one table, both are unchanged.
    """
    pair_id, summary = uuid.uuid4().hex, Summary()
    with folder.writing(RAW, RESULTS) as (raw_file, results_file):
        raw_schema, results_schema = _schema(RawRow, pair_id), _schema(AggregatedResult, pair_id)
        with _writer(raw_file, raw_schema) as raw, _writer(results_file, results_schema) as results:
            rows = iter(rows)
            while batch := list(islice(rows, _BATCH)):
                results.write_table(_table(AggregatedResult, [row for row, _ in batch], results_schema))
                raw.write_table(_table(RawRow, [row for _, raw_rows in batch for row in raw_rows], raw_schema))
                for row, _ in batch:
                    summary.add(row)
    return summary


def mismatch(raw: pa.Schema, results: pa.Schema) -> str | None:
    """Why these two tables do not belong together; null if they do, or if neither has an id."""
    if (raw.metadata or {}).get(_PAIR_ID) == (results.metadata or {}).get(_PAIR_ID):
        return None
    return f"{RAW} and {RESULTS} were not written together; run the same sweep again to rewrite both"


@contextlib.contextmanager
def _writer(file: Any, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer that adds a checksum to the file."""
    sealed = SealedFile(file)
    with pq.ParquetWriter(sealed, schema, compression="zstd", write_page_checksum=True) as writer:
        yield writer
        sealed.reserve()
    sealed.fill()


def _schema(model: type[Record], pair_id: str) -> pa.Schema:
    schema = columns.schema(model)
    return schema.with_metadata({**schema.metadata, _PAIR_ID: pair_id.encode()})


def _table(model: type[Record], rows: Sequence[Record], schema: pa.Schema) -> pa.Table:
    return columns.table(model, rows).replace_schema_metadata(schema.metadata)
