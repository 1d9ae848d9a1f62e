from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator import aggregate, grid
from orchestrator.results.rows import AggregatedResult, RawRow, SweepInfo
from orchestrator.results.writer import RAW, RESULTS, mismatch, write_tables
from orchestrator.store import Folder
from tests.support.sweeps import sweep
from workers.engines.fake import fake_result
from workers.records import Outcome

Rows = Iterator[tuple[AggregatedResult, Sequence[RawRow]]]
INFO = SweepInfo(sweep="s", sweep_hash="h", ray_version="2", driver_host="here", started_unix_s=1.0)


def rows() -> Rows:
    config = sweep([{}])
    for run in grid.runs(grid.expand(config), config):
        outcome = Outcome(run=run, results=(fake_result(run),))
        yield (
            aggregate.aggregate(run.cell, [outcome], INFO, repeats_asked=1),
            aggregate.raw_rows(run.cell, [outcome], INFO),
        )


def broken() -> Rows:
    yield from rows()
    raise KeyError("the rows ran out")


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(str(request.getfixturevalue("bucket").url() if request.param == "bucket" else tmp_path / "out"))


def pair(folder: Folder, tmp_path: Path) -> str | None:
    """The mismatch that a reader of both tables gets."""
    schemas = []
    for name in (RAW, RESULTS):
        (tmp_path / name).write_bytes(folder.read(name) or b"")
        schemas.append(pq.read_schema(tmp_path / name))
    return mismatch(*schemas)


def test_an_old_table_next_to_a_new_one_is_detected_and_rewriting_fixes_it(folder: Folder, tmp_path: Path) -> None:
    write_tables(folder, rows())
    assert pair(folder, tmp_path) is None
    old = folder.read(RESULTS)
    assert old is not None
    write_tables(folder, rows())
    assert pair(folder, tmp_path) is None
    folder.write(RESULTS, old)  # as after a crash between the two
    assert "raw.parquet and results.parquet were not written together" in (pair(folder, tmp_path) or "")
    write_tables(folder, rows())
    assert pair(folder, tmp_path) is None


def test_neither_table_changes_if_one_cannot_be_written(folder: Folder) -> None:
    write_tables(folder, rows())
    before = [folder.read(name) for name in (RAW, RESULTS)]
    with pytest.raises(KeyError):
        write_tables(folder, broken())
    assert [folder.read(name) for name in (RAW, RESULTS)] == before
    assert folder.names("") == [RAW, RESULTS]
