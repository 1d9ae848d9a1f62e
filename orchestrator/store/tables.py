"""The two Parquet tables, written as a pair.

Both carry the same id of their writing. Whoever reads both compares it: where a crash, or a bucket that refused the
second one, has left one new and one old table, their rows do not belong together.
"""

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator import columns
from orchestrator.results import AggregatedResult, RawRow
from orchestrator.seal import SealedFile
from orchestrator.store.folder import Folder
from workers.records import Record

RAW = "raw.parquet"
RESULTS = "results.parquet"

_WRITING = b"joulegrid_writing"
"""Key of the schema's metadata under which both tables of one writing hold the same id."""

_ROWS_AT_ONCE = 500
"""Rows held in memory while writing: the driver's memory must not grow with the sweep."""

Row = TypeVar("Row", bound=Record)


def write_tables(folder: Folder, rows: Iterable[tuple[AggregatedResult, Sequence[RawRow]]]) -> None:
    """Write both tables side by side, a batch of cells at a time; they take their names once both are whole.

    Raises:
        StoreError: A table could not be written. Unless the message names only one of them, both are as they were.
    """
    writing = uuid.uuid4().hex
    with folder.writing(RAW, RESULTS) as (raw_file, results_file):
        raw_schema, results_schema = _schema(RawRow, writing), _schema(AggregatedResult, writing)
        with _writer(raw_file, raw_schema) as raw, _writer(results_file, results_schema) as results:
            rows = iter(rows)
            while batch := list(islice(rows, _ROWS_AT_ONCE)):
                results.write_table(_table(AggregatedResult, [row for row, _ in batch], results_schema))
                raw.write_table(_table(RawRow, [row for _, some in batch for row in some], raw_schema))


def not_a_pair(raw: pa.Schema, results: pa.Schema) -> str | None:
    """Why these two tables may not be read together; null where they are of one writing, or older than such ids."""
    if (raw.metadata or {}).get(_WRITING) == (results.metadata or {}).get(_WRITING):
        return None
    return f"{RAW} and {RESULTS} are of two writings; start the same sweep again, which writes both anew"


@contextlib.contextmanager
def _writer(file: Any, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Write a table with its checksum inside."""
    sealed = SealedFile(file)
    with pq.ParquetWriter(sealed, schema, compression="zstd", write_page_checksum=True) as writer:
        yield writer
        sealed.place()
    sealed.fill()


def _schema(model: type[Record], writing: str) -> pa.Schema:
    schema = columns.schema(model)
    return schema.with_metadata({**schema.metadata, _WRITING: writing.encode()})


def _table(model: type[Record], rows: Sequence[Record], schema: pa.Schema) -> pa.Table:
    return columns.table(model, rows).replace_schema_metadata(schema.metadata)
