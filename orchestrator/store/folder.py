"""An output folder, on a disk or in a bucket (`s3://`, `gs://`) through pyarrow's filesystems.

Writes are atomic: a file appears whole or not at all.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.fs as pafs

from orchestrator.store.bucket import Bucket
from orchestrator.store.disk import Disk
from workers.records.errors import JouleGridError
from workers.records.redact import redact
from workers.records.text import printable


class StoreError(JouleGridError):
    """Results cannot be read or written. The message names the location and contains no secrets."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(redact(message)))


class UnansweredError(StoreError):
    """The bucket did not answer in time; a retry would take as long."""


class Folder:
    """One output folder. Names in it are relative paths with `/`. In a bucket, every call has a time limit.

    Args:
        out: A path, or a URI that pyarrow supports (`s3://bucket/nightly?region=eu-west-1`).
        stopping: Whether this process was asked to stop; calls to a bucket then end within seconds.

    Raises:
        StoreError: The location cannot be opened. Every method that reads or writes raises it too.
    """

    def __init__(self, out: str, stopping: Callable[[], bool] = lambda: False) -> None:
        self.out = printable(redact(out))
        """The location without the credentials of its URL."""
        self.root: Path | None = None
        """The folder's path on a disk; null in a bucket."""
        self._storage: Disk | Bucket
        try:
            if out.startswith("file:"):
                self.root = Path(pafs.FileSystem.from_uri(out)[1])
            elif "://" not in out:
                self.root = Path(out).absolute()
            self._storage = Disk(self.root) if self.root else Bucket(out, stopping)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"out: {out!r} cannot be opened: {_reason(error)}") from error
        if "\0" in str(self.root):  # `%00` in a URI
            raise StoreError(f"out: {out!r} cannot be opened: a path cannot contain a null character")

    def path(self, name: str) -> str:
        """The full path or URL of `name`, for messages."""
        folder = str(self.root) if self.root else self.out.split("?")[0].rstrip("/")
        return printable(f"{folder}/{name}")

    def write(self, name: str, data: bytes) -> None:
        """Write `data` to `name`; it is whole and durable when this returns."""
        with self._errors_named("write", name):
            self._storage.write(name, data)

    @contextlib.contextmanager
    def writing(self, *names: str) -> Iterator[list[IO[bytes]]]:
        """Open a file per name; they appear under their names, one right after the other, when the block succeeds.

        Raises:
            StoreError: The disk is full, the bucket refuses the write, or the folder is not writable.
        """
        with self._errors_named("write", " and ".join(names)), self._storage.writing(*names) as files:
            yield files

    def read(self, name: str) -> bytes | None:
        """The contents of `name`; null if it does not exist."""
        return self.read_all([name])[0]

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """The contents of each name, read in parallel; null if it does not exist."""
        with self._errors_named("read", names[0] if len(names) == 1 else ""):
            return self._storage.read_all(names)

    def names(self, inside: str) -> list[str]:
        """Sorted names of the files directly in the subfolder `inside`, without unfinished ones."""
        return sorted(self.entries(inside))

    def entries(self, inside: str) -> dict[str, float]:
        """`names` with the storage's time of their last write. Unit: s since 1970."""
        with self._errors_named("list", inside):
            return self._storage.entries(inside)

    def move(self, name: str, to: str) -> None:
        """Rename a file within the folder."""
        with self._errors_named("move", name):
            self._storage.move(name, to)

    def delete(self, name: str) -> None:
        """Delete `name` if it exists."""
        self.delete_all([name])

    def delete_all(self, names: Sequence[str]) -> None:
        """Delete the names that exist, in parallel."""
        with self._errors_named("delete", names[0] if len(names) == 1 else ""):
            self._storage.delete_all(names)

    @contextlib.contextmanager
    def _errors_named(self, verb: str, name: str) -> Iterator[None]:
        """Turn errors of the disk or the bucket into a `StoreError` that names the location."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            error_type = UnansweredError if isinstance(error, TimeoutError) else StoreError
            failed_path = getattr(error, "filename", None) if not name else None
            raise error_type(f"cannot {verb} {failed_path or self.path(name)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
