import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import boto3
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

import orchestrator
from orchestrator import store
from orchestrator.results import columns
from orchestrator.results.reader import LoadError, folders, load
from orchestrator.results.rows import AggregatedResult, CellSettings, RawRow, SweepInfo
from orchestrator.results.writer import write_tables
from tests.support.silent import How, SilentServer


def write(folder: Path, model: type[AggregatedResult] | type[RawRow], name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(columns.table(model, []), folder / name)
    return folder / name


def skipped() -> AggregatedResult:
    """A minimal row."""
    cell = CellSettings(
        cell_id="0", model="tiny", precision="bf16", batch_size=1, input_tokens=1, output_tokens=1, attention="sdpa",
        device_asked="cpu", processes=1, tensor_parallel=1, settings="{}",
    )  # fmt: skip
    sweep = SweepInfo(sweep="s", sweep_hash="h", ray_version="2", driver_host="here", started_unix_s=1.0)
    return AggregatedResult(cell=cell, status="skipped", repeats_asked=1, repeats_ok=0, attempts=0, sweep=sweep)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write(tmp_path / "out", AggregatedResult, "results.parquet")
    write(tmp_path / "out", RawRow, "raw.parquet")
    return tmp_path / "out"


@pytest.mark.parametrize("inside", ["", "results.parquet"])
def test_a_folder_and_its_file_load_the_same(results: Path, inside: str) -> None:
    found = load(results / inside)

    assert found.results.schema.equals(columns.schema(AggregatedResult))
    assert found.raw.schema.equals(columns.schema(RawRow))


def test_results_become_pandas_and_polars_frames(results: Path) -> None:
    found = load(results)

    assert list(found.to_pandas().columns) == found.results.column_names
    assert isinstance(found.to_polars(), pl.DataFrame)
    assert found.to_polars().columns == found.results.column_names


def test_without_raw_rows_the_results_load_and_raw_says_what_is_missing(results: Path) -> None:
    (results / "raw.parquet").unlink()
    found = load(results)

    with pytest.raises(LoadError, match=r"no raw\.parquet next to results\.parquet"):
        _ = found.raw


def test_each_wrong_path_has_its_own_message(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    messages = {
        "nowhere": "no such folder",
        "nowhere.parquet": "no such file",
        "empty": r"no results\.parquet in this folder \(it contains nothing\)",
        "notes.txt": "not a Parquet file",
        "broken.parquet": r"broken\.parquet cannot be read",
    }
    for name, message in messages.items():
        with pytest.raises(LoadError, match=message):
            load(tmp_path / name)


def test_a_flipped_bit_never_changes_the_values(tmp_path: Path) -> None:
    write_tables(store.Folder(str(tmp_path)), [(skipped(), [])] * 3)
    file = tmp_path / "results.parquet"
    whole, good = file.read_bytes(), load(tmp_path).results
    draw = random.Random(0)
    rejected = 0
    for bit in (draw.randrange(8 * len(whole)) for _ in range(400)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        try:
            assert load(tmp_path).results.equals(good, check_metadata=True)  # the bit was in the seal's own marker
        except LoadError:
            rejected += 1
    assert rejected >= 395


@pytest.mark.parametrize("rows", [0, 3, 1001])
def test_other_readers_ignore_the_checksum(tmp_path: Path, rows: int) -> None:
    one = skipped()
    write_tables(store.Folder(str(tmp_path)), [(one, [])] * rows)

    expected = columns.table(AggregatedResult, [one] * rows)
    assert load(tmp_path).results.equals(expected)
    assert pq.read_table(tmp_path / "results.parquet", page_checksum_verification=True).equals(expected)
    assert pl.read_parquet(tmp_path / "results.parquet").height == rows
    assert duckdb.sql(f"select count(*) from '{tmp_path}/results.parquet'").fetchall() == [(rows,)]


def test_tables_that_were_not_written_together_are_an_error(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_tables(store.Folder(str(tmp_path / name)), [])
    (tmp_path / "two" / "raw.parquet").rename(tmp_path / "one" / "raw.parquet")

    with pytest.raises(LoadError, match="were not written together"):
        _ = load(tmp_path / "one").raw


def test_results_that_another_program_rewrote_load_without_a_checksum(tmp_path: Path) -> None:
    write_tables(store.Folder(str(tmp_path / "out")), [])
    pq.write_table(pq.read_table(tmp_path / "out" / "results.parquet"), tmp_path / "copy.parquet")

    assert load(tmp_path / "copy.parquet").results.num_rows == 0


def test_a_parquet_file_of_another_program_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "results.parquet")

    with pytest.raises(LoadError, match="not of JouleGrid"):
        load(tmp_path)


def test_raw_rows_are_not_results(results: Path) -> None:
    with pytest.raises(LoadError, match="contains RawRow rows, not AggregatedResult rows"):
        load(results / "raw.parquet")


def test_a_newer_schema_is_an_error_with_both_versions(tmp_path: Path) -> None:
    newer = columns.table(AggregatedResult, []).replace_schema_metadata({"joulegrid_schema": "AggregatedResult/99"})
    pq.write_table(newer, tmp_path / "results.parquet")

    with pytest.raises(LoadError, match=f"schema version 99.*reads versions up to {columns.SCHEMA_VERSION}"):
        load(tmp_path)


def test_an_unsupported_url_is_an_error_that_names_the_supported_ones() -> None:
    with pytest.raises(LoadError, match="give a local path, s3://bucket/folder or gs://bucket/folder"):
        load("ftp://host/results")


def test_folders_lists_only_results_folders_and_parquet_files(tmp_path: Path) -> None:
    write(tmp_path / "one", AggregatedResult, "results.parquet")
    write(tmp_path, AggregatedResult, "two.parquet")
    write(tmp_path, RawRow, "raw.parquet")
    (tmp_path / "journal").mkdir()

    assert folders(tmp_path) == [f"{tmp_path}/one", f"{tmp_path}/two.parquet"]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="snapshots")
    yield SimpleNamespace(client=client, query=f"?scheme=http&endpoint_override={host}:{port}&region=us-east-1")
    server.stop()


def test_results_load_from_a_bucket(bucket: SimpleNamespace, results: Path) -> None:
    for name in ("results.parquet", "raw.parquet"):
        bucket.client.upload_file(str(results / name), "snapshots", f"history/monday/{name}")
    query = bucket.query

    assert folders(f"s3://snapshots/history{query}") == [f"s3://snapshots/history/monday{query}"]
    assert load(f"s3://snapshots/history/monday{query}").raw.num_rows == 0
    with pytest.raises(LoadError, match="no such folder"):
        load(f"s3://snapshots/history/tuesday{query}")


@pytest.mark.parametrize(("how", "read"), [("silent", load), ("trickles", folders)])
def test_a_bucket_that_never_answers_is_an_error_in_bounded_time(
    how: How, read: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with SilentServer(how) as server:
        monkeypatch.setattr(store.bucket, "CALL_TIMEOUT_S", 0.5)
        with pytest.raises(LoadError, match=r"^s3://\[redacted\]@bucket/out.*: no answer within 0\.\d s$"):
            read(server.url)


def test_load_stays_a_function_of_the_package_after_it_was_called(results: Path) -> None:
    for _ in range(2):
        assert orchestrator.load(results).results.num_rows == 0


def test_importing_load_imports_neither_torch_nor_pyarrow() -> None:
    heavy = ("torch", "pyarrow", "pandas", "polars")
    code = f"import sys, orchestrator.results.reader; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
