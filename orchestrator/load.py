"""Results on disk -> tables: a results folder or a Parquet file, local or in an object store (`s3://`, `gs://`)."""

import re
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from workers.redact import redact

if TYPE_CHECKING:  # each is loaded when it is asked for: `import orchestrator` stays light
    import pandas as pd  # type: ignore[import-untyped]  # its stubs are not a dependency
    import polars as pl
    import pyarrow as pa
    from pyarrow import fs

_RESULTS, _RAW = "results.parquet", "raw.parquet"

_LONGEST_MESSAGE = 2000
"""Of an error, which repeats the path that it was given. Unit: characters."""


class LoadError(ValueError):
    """There are no readable results where they were looked for. A URL's credentials are left out of the message."""

    def __init__(self, message: str) -> None:
        printable = "".join(one if one.isprintable() else " " for one in message)
        super().__init__(redact(printable[:_LONGEST_MESSAGE].strip()))


def senseless(path: object, error: Exception) -> LoadError:
    """What to raise where a readable file holds what no sweep writes, and `error` is how that came out."""
    return LoadError(f"{path}: cannot be made sense of: {type(error).__name__}: {' '.join(str(error).split())}")


class Results:
    """One sweep's results. `results` has a row per cell, `raw` a row per process of every run; each is read once."""

    def __init__(self, path: str) -> None:
        self.path = path
        """The folder or file that was asked for."""
        self._fs, self._inner = _filesystem(path)
        self._file = _results_file(self._fs, self._inner, path)

    @cached_property
    def results(self) -> "pa.Table":
        """One row per cell, in the columns of `docs/columns.md`."""
        return _read(self._fs, self._file, "AggregatedResult", self.path)

    @cached_property
    def raw(self) -> "pa.Table":
        """One row per process of every run, failed tries included; lies beside the results.

        Raises:
            LoadError: there is no raw.parquet beside the results, or one of another writing.
        """
        from orchestrator.store import not_a_pair

        file = str(PurePosixPath(self._file).with_name(_RAW))
        if not _is_file(self._fs, file):
            raise LoadError(f"{self.path}: no {_RAW} beside {PurePosixPath(self._file).name}")
        raw = _read(self._fs, file, "RawRow", self.path)
        if reason := not_a_pair(raw.schema, self.results.schema):
            raise LoadError(f"{self.path}: {reason}")
        return raw

    def to_pandas(self) -> "pd.DataFrame":
        """`results` as a pandas frame (needs pandas)."""
        return self.results.to_pandas()

    def to_polars(self) -> "pl.DataFrame":
        """`results` as a Polars frame, without a copy where the types allow (needs polars)."""
        import polars as pl

        frame = pl.from_arrow(self.results)
        assert isinstance(frame, pl.DataFrame)  # a table becomes a frame; only an array becomes a series
        return frame


def load(path: str | Path) -> Results:
    """The results at `path`: a results folder, or its results.parquet; local, `s3://...` or `gs://...`.

    The file is checked and read here, so that a wrong path fails at once; `raw` is read when it is asked for.

    Raises:
        LoadError: nothing there, no results of this program, or of a newer schema than this program knows; a bucket
            that does not answer within 30 s.
    """
    found = Results(str(path))
    _ = found.results
    return found


def folders(path: str | Path) -> list[str]:
    """What can be loaded inside the folder `path`: its subfolders with results, and its own Parquet files, by name.

    Raises:
        LoadError: `path` is no folder.
    """
    from pyarrow import fs

    where, inner = _filesystem(str(path))
    if _info(where, inner, str(path)).type is not fs.FileType.Directory:
        raise LoadError(f"{path}: no folder")
    base, question, query = str(path).partition("?") if "://" in str(path) else (str(path), "", "")
    found = []
    for entry in _info(where, fs.FileSelector(inner), str(path)):
        is_folder = entry.type is fs.FileType.Directory
        is_file = entry.base_name.endswith(".parquet") and entry.base_name != _RAW
        if (is_folder and _is_file(where, f"{entry.path}/{_RESULTS}")) or (not is_folder and is_file):
            found.append(f"{base.rstrip('/')}/{entry.base_name}{question}{query}")
    return sorted(found)


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
        raise LoadError(f"{path}: there is no such user here") from exc
    except TimeoutError as exc:
        raise LoadError(f"{path}: {exc}") from exc
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise LoadError(f"{path}: {exc}; a path is local, s3://bucket/folder or gs://bucket/folder") from exc
    if not inner.strip("/") and not isinstance(where, fs.LocalFileSystem):
        raise LoadError(f"{path}: names no bucket")
    return where, inner.rstrip("/")


@cache
def _await_answer(bucket: str) -> None:
    """Return once the bucket has answered anything. The calls that read take minutes to give up, and hear no Ctrl-C.

    Raises:
        TimeoutError: It has not, for as long as a sweep would wait.
    """
    from orchestrator.store.bucket import Bucket

    try:
        Bucket(bucket, hurried=lambda: False).read_all([".joulegrid"])  # there is none
    except TimeoutError:
        raise
    except OSError:
        return  # whatever is wrong, the calls that read say it with the path


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
        raise LoadError(f"{path}: no Parquet file; give a results folder or its {_RESULTS}")
    if info.type is not fs.FileType.Directory:
        raise LoadError(f"{path}: neither a file nor a folder")
    names = sorted(entry.base_name for entry in _info(where, fs.FileSelector(inner), path))[:5]
    raise LoadError(f"{path}: no {_RESULTS} in this folder (it holds {', '.join(names) or 'nothing'})")


def _info(where: "fs.FileSystem", what: "str | fs.FileSelector", path: str) -> Any:
    import pyarrow as pa

    try:
        return where.get_file_info(what)
    except (OSError, pa.ArrowException, ValueError) as exc:  # no such bucket, no network; a name that no file can have
        raise LoadError(f"{path}: {exc}") from exc


def _is_file(where: "fs.FileSystem", inner: str) -> bool:
    from pyarrow import fs

    return bool(_info(where, inner, inner).type is fs.FileType.File)


def _read(where: "fs.FileSystem", file: str, kind: str, path: str) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    from orchestrator import seal

    try:
        with where.open_input_file(file) as source:
            data = source.read_buffer()
        seal.check(memoryview(data))
        reader = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        _check_schema(reader.schema_arrow, kind, path)
        return reader.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError, seal.SealError) as exc:
        raise LoadError(f"{path}: {PurePosixPath(file).name} cannot be read: {' '.join(str(exc).split())}") from exc


def _check_schema(schema: "pa.Schema", kind: str, path: str) -> None:
    from orchestrator import columns
    from orchestrator.results import AggregatedResult, RawRow

    found, _, version = (schema.metadata or {}).get(b"joulegrid_schema", b"").decode().partition("/")
    if not found:
        raise LoadError(f"{path}: a Parquet file, but not of this program (its metadata has no `joulegrid_schema`)")
    if found != kind:
        raise LoadError(f"{path}: holds {found} rows where {kind} rows are wanted; give the results folder")
    known = f"this one reads up to {columns.SCHEMA_VERSION}"
    if not re.fullmatch("[1-9][0-9]{0,8}", version):
        raise LoadError(f"{path}: schema version {version[:20]!r}, which no joulegrid writes; {known}")
    if int(version) > columns.SCHEMA_VERSION:
        raise LoadError(f"{path}: schema version {version}, written by a newer joulegrid; {known}")
    for field in columns.schema({"AggregatedResult": AggregatedResult, "RawRow": RawRow}[kind]):
        if field.name in schema.names and not schema.field(field.name).type.equals(field.type):
            raise LoadError(f"{path}: column {field.name!r} holds {schema.field(field.name).type}, not {field.type}")
