"""A folder that survives the driver: on a disk, or in a bucket (`s3://`, `gs://`) through pyarrow's filesystems.

A name appears whole or not at all.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.fs as pafs

from orchestrator.store.bucket import Bucket
from orchestrator.store.disk import Disk
from workers.records.text import printable
from workers.redact import redact


class StoreError(Exception):
    """The results cannot be kept. The message names the place and says what to do; it holds no secret."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(redact(message)))


class UnansweredError(StoreError):
    """The place did not answer in time: to ask again would take as long."""


class Folder:
    """One output folder; names inside it are relative, with `/`. In a bucket, every call ends in bounded time.

    Args:
        out: A path, or a URI that pyarrow knows (`s3://bucket/nightly?region=eu-west-1`).
        hurried: Whether somebody has asked this process to stop: calls to a bucket then end within seconds.

    Raises:
        StoreError: The place cannot be opened. All that touches the place raises it, where nothing else is said.
    """

    def __init__(self, out: str, hurried: Callable[[], bool] = lambda: False) -> None:
        self.out = printable(redact(out))
        """The place as it may be shown: credentials in a URL are left out."""
        self.root: Path | None = None
        """Where it lies on a disk; null in a bucket."""
        self._place: Disk | Bucket
        try:
            if out.startswith("file:"):
                self.root = Path(pafs.FileSystem.from_uri(out)[1])
            elif "://" not in out:
                self.root = Path(out).absolute()
            self._place = Disk(self.root) if self.root else Bucket(out, hurried)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"out: {out!r} cannot be opened: {_reason(error)}") from error
        if "\0" in str(self.root):  # as `%00` in a URI
            raise StoreError(f"out: {out!r} cannot be opened: no name has a null character")

    def path(self, name: str) -> str:
        """Where `name` lies, as a person would write it."""
        folder = str(self.root) if self.root else self.out.split("?")[0].rstrip("/")
        return printable(f"{folder}/{name}")

    def write(self, name: str, data: bytes) -> None:
        """Put `data` under `name`, whole and durable when this returns."""
        with self._stating("write", name):
            self._place.write(name, data)

    @contextlib.contextmanager
    def writing(self, *names: str) -> Iterator[list[IO[bytes]]]:
        """A file for each name; they take their names together, right after one another, once the block ends well.

        Raises:
            StoreError: The disk is full, the bucket refuses, the folder is not ours to write.
        """
        with self._stating("write", " and ".join(names)), self._place.writing(*names) as files:
            yield files

    def read(self, name: str) -> bytes | None:
        """The bytes under `name`; null where there is no such name."""
        return self.read_all([name])[0]

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """The bytes under each name, many at once; null where there is no such name."""
        with self._stating("read", names[0] if len(names) == 1 else ""):
            return self._place.read_all(names)

    def names(self, inside: str) -> list[str]:
        """Names of the files directly in the subfolder `inside`, sorted; unfinished ones are not named."""
        return sorted(self.entries(inside))

    def entries(self, inside: str) -> dict[str, float]:
        """The same, with when each was last written by the place's own clock. Unit: s since 1970."""
        with self._stating("list", inside):
            return self._place.entries(inside)

    def move(self, name: str, to: str) -> None:
        """Rename within the folder."""
        with self._stating("move", name):
            self._place.move(name, to)

    def delete(self, name: str) -> None:
        """Remove `name`; nothing happens where there is none."""
        self.delete_all([name])

    def delete_all(self, names: Sequence[str]) -> None:
        """Remove several names, many at once; nothing happens where one is none."""
        with self._stating("delete", names[0] if len(names) == 1 else ""):
            self._place.delete_all(names)

    @contextlib.contextmanager
    def _stating(self, verb: str, name: str) -> Iterator[None]:
        """Whatever the disk or the bucket says, said with the place and as one kind of error."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            kind = UnansweredError if isinstance(error, TimeoutError) else StoreError
            one_of_many = getattr(error, "filename", None) if not name else None
            raise kind(f"cannot {verb} {one_of_many or self.path(name)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
