"""Reads the results of a sweep: a results folder or a Parquet file, local or in a bucket (`s3://`, `gs://`)."""

import re
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from workers.records.errors import JouleGridError
from workers.records.redact import redact

if TYPE_CHECKING:  # imported when needed, so that `import orchestrator` is fast
    import pandas as pd  # type: ignore[import-untyped]  # its stubs are not a dependency
    import polars as pl
    import pyarrow as pa
    from pyarrow import fs

_RESULTS, _RAW = "results.parquet", "raw.parquet"

_MAX_MESSAGE = 2000
"""Longest message of an error, which repeats the given path. Unit: characters."""


class LoadError(JouleGridError, ValueError):
    """There are no readable results at the given path. The message contains no credentials."""

    def __init__(self, message: str) -> None:
        printable = "".join(one if one.isprintable() else " " for one in message)
        super().__init__(redact(printable[:_MAX_MESSAGE].strip()))


def unexpected_content(path: object, error: Exception) -> LoadError:
    """The error for a readable file with values that no sweep writes, which caused `error`."""
    return LoadError(f"{path}: unexpected content: {type(error).__name__}: {' '.join(str(error).split())}")


class Results:
    """The results of a sweep. `results` has a row per cell, `raw` a row per process of each run. Each is read once."""

    def __init__(self, path: str) -> None:
        self.path = path
        """The given folder or file."""
        self._fs, self._inner = _filesystem(path)
        self._file = _results_file(self._fs, self._inner, path)

    @cached_property
    def results(self) -> "pa.Table":
        """One row per cell, with the columns of `docs/columns.md`."""
        return _read(self._fs, self._file, "AggregatedResult", self.path)

    @cached_property
    def raw(self) -> "pa.Table":
        """One row per process of each run, and one per failed attempt, from the raw.parquet next to the results.

        Raises:
            LoadError: there is no raw.parquet next to the results, or it was not written with them.
        """
        from orchestrator.results.writer import mismatch

        file = str(PurePosixPath(self._file).with_name(_RAW))
        if not _is_file(self._fs, file):
            raise LoadError(f"{self.path}: there is no {_RAW} next to {PurePosixPath(self._file).name}")
        raw = _read(self._fs, file, "RawRow", self.path)
        if reason := mismatch(raw.schema, self.results.schema):
            raise LoadError(f"{self.path}: {reason}")
        return raw

    def to_pandas(self) -> "pd.DataFrame":
        """`results` as a pandas data frame (needs pandas)."""
        return self.results.to_pandas()

    def to_polars(self) -> "pl.DataFrame":
        """`results` as a Polars data frame, without a copy if the types allow it (needs polars)."""
        import polars as pl

        frame = pl.from_arrow(self.results)
        assert isinstance(frame, pl.DataFrame)  # only an array becomes a series
        return frame


def load(path: str | Path) -> Results:
    """Load the results at `path`: a results folder, or its results.parquet; local, `s3://...` or `gs://...`.

    The file is read and checked at once, so that a wrong path fails here; `raw` is read on first access.

    Raises:
        LoadError: `path` does not exist, holds no results of JouleGrid, or was written by a newer version; or a bucket
            does not answer within 30 s.
    """
    results = Results(str(path))
    _ = results.results
    return results


def folders(path: str | Path) -> list[str]:
    """Paths that `load` accepts inside the folder `path`, sorted: subfolders with results, and Parquet files.

    Raises:
        LoadError: `path` is not a folder.
    """
    from pyarrow import fs

    where, inner = _filesystem(str(path))
    if _info(where, inner, str(path)).type is not fs.FileType.Directory:
        raise LoadError(f"{path}: not a folder")
    base, question, query = str(path).partition("?") if "://" in str(path) else (str(path), "", "")
    paths = []
    for entry in _info(where, fs.FileSelector(inner), str(path)):
        is_folder = entry.type is fs.FileType.Directory
        is_file = entry.base_name.endswith(".parquet") and entry.base_name != _RAW
        if (is_folder and _is_file(where, f"{entry.path}/{_RESULTS}")) or (not is_folder and is_file):
            paths.append(f"{base.rstrip('/')}/{entry.base_name}{question}{query}")
    return sorted(paths)


def _filesystem(path: str) -> tuple["fs.FileSystem", str]:
    import pyarrow as pa
    from pyarrow import fs

    try:
        if "://" not in path:
            return fs.LocalFileSystem(), str(Path(path).expanduser().absolute())
        url = urlsplit(path)
        if url.scheme in {"s3", "gs", "gcs"} and url.netloc:
            _await_answer(url._replace(path="", fragment="").geturl())
        where, inner = fs.FileSystem.from_uri(path)
    except RuntimeError as exc:
        raise LoadError(f"{path}: no such user on this machine") from exc
    except TimeoutError as exc:
        raise LoadError(f"{path}: {exc}") from exc
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise LoadError(f"{path}: {exc}; give a local path, s3://bucket/folder or gs://bucket/folder") from exc
    if not inner.strip("/") and not isinstance(where, fs.LocalFileSystem):
        raise LoadError(f"{path}: the URL names no bucket")
    return where, inner.rstrip("/")


@cache
def _await_answer(bucket: str) -> None:
    """Wait until the bucket answers: the calls that read would take minutes to time out, and ignore Ctrl-C.

    Raises:
        TimeoutError: It did not answer within the time limit of a call.
    """
    from orchestrator.store.bucket import Bucket

    try:
        Bucket(bucket, stopping=lambda: False).read_all([".joulegrid"])  # does not exist
    except TimeoutError:
        raise
    except OSError:
        return  # the calls that read report the error with the path


def _results_file(where: "fs.FileSystem", inner: str, path: str) -> str:
    if inner.endswith(".parquet"):
        if _is_file(where, inner):
            return inner
        raise LoadError(f"{path}: no such file")
    file = f"{inner}/{_RESULTS}"
    if _is_file(where, file):
        return file
    from pyarrow import fs

    info = _info(where, inner, path)
    if info.type is fs.FileType.NotFound:
        raise LoadError(f"{path}: no such folder")
    if info.type is fs.FileType.File:
        raise LoadError(f"{path}: not a Parquet file; give a results folder or its {_RESULTS}")
    if info.type is not fs.FileType.Directory:
        raise LoadError(f"{path}: neither a file nor a folder")
    names = sorted(entry.base_name for entry in _info(where, fs.FileSelector(inner), path))[:5]
    raise LoadError(f"{path}: no {_RESULTS} in this folder (it contains {', '.join(names) or 'nothing'})")


def _info(where: "fs.FileSystem", what: "str | fs.FileSelector", path: str) -> Any:
    import pyarrow as pa

    try:
        return where.get_file_info(what)
    except (OSError, pa.ArrowException, ValueError) as exc:  # no such bucket, no network, an invalid file name
        raise LoadError(f"{path}: {exc}") from exc


def _is_file(where: "fs.FileSystem", inner: str) -> bool:
    from pyarrow import fs

    return bool(_info(where, inner, inner).type is fs.FileType.File)


def _read(where: "fs.FileSystem", file: str, row_type: str, path: str) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    from orchestrator.store import seal

    try:
        with where.open_input_file(file) as source:
            data = source.read_buffer()
        seal.check(memoryview(data))
        reader = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        _check_schema(reader.schema_arrow, row_type, path)
        return reader.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError, seal.SealError) as exc:
        raise LoadError(f"{path}: {PurePosixPath(file).name} cannot be read: {' '.join(str(exc).split())}") from exc


def _check_schema(schema: "pa.Schema", row_type: str, path: str) -> None:
    from orchestrator.results import columns
    from orchestrator.results.rows import AggregatedResult, RawRow

    actual, _, version = (schema.metadata or {}).get(b"joulegrid_schema", b"").decode().partition("/")
    if not actual:
        raise LoadError(f"{path}: a Parquet file, but not of JouleGrid (its metadata has no `joulegrid_schema`)")
    if actual != row_type:
        raise LoadError(f"{path}: contains {actual} rows, not {row_type} rows; give the results folder")
    known = f"this joulegrid reads versions up to {columns.SCHEMA_VERSION}"
    if not re.fullmatch("[1-9][0-9]{0,8}", version):
        raise LoadError(f"{path}: invalid schema version {version[:20]!r}; {known}")
    if int(version) > columns.SCHEMA_VERSION:
        raise LoadError(f"{path}: schema version {version}, written by a newer joulegrid; {known}")
    for field in columns.schema({"AggregatedResult": AggregatedResult, "RawRow": RawRow}[row_type]):
        if field.name in schema.names and not schema.field(field.name).type.equals(field.type):
            raise LoadError(f"{path}: column {field.name!r} has type {schema.field(field.name).type}, not {field.type}")
