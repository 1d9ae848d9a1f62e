"""A folder on a disk. Writes are atomic: a file is written under a temporary name, synced and renamed."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

_PART = ".part"
_READERS = 16
"""Files read in parallel: on a shared disk each one takes a round trip."""


class Disk:
    """The folder `root`, created by the first write."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def writing(self, *names: str) -> Iterator[list[IO[bytes]]]:
        """Open a file per name; they are renamed to their names, in this order, once all are complete and synced."""
        targets = [self._root / name for name in names]
        parts = [target.with_name(target.name + _PART) for target in targets]
        try:
            with contextlib.ExitStack() as stack:
                yield [stack.enter_context(_synced(part)) for part in parts]
            for part, target in zip(parts, targets, strict=True):
                part.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):  # report the first error
                for part in parts:
                    part.unlink(missing_ok=True)
            raise
        for folder in dict.fromkeys(target.parent for target in targets):
            _sync(folder)

    def write(self, name: str, data: bytes) -> None:
        """Write `data` to `name`."""
        with self.writing(name) as (file,):
            file.write(data)

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """The contents of each name; null if it does not exist."""
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(self._read, names))

    def entries(self, inside: str) -> dict[str, float]:
        """Complete files directly in the subfolder `inside`, with the time of their last write. Unit: s since 1970."""
        entries = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._root / inside) as files:
            for file in files:
                with contextlib.suppress(FileNotFoundError):  # deleted in the meantime
                    if file.is_file() and not file.name.endswith(_PART):
                        entries[file.name] = file.stat().st_mtime
        return entries

    def move(self, name: str, to: str) -> None:
        """Rename a file within the folder."""
        target = self._root / to
        target.parent.mkdir(parents=True, exist_ok=True)
        (self._root / name).replace(target)

    def delete_all(self, names: Sequence[str]) -> None:
        """Delete the names that exist."""
        for name in names:
            (self._root / name).unlink(missing_ok=True)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None


@contextlib.contextmanager
def _synced(path: Path) -> Iterator[IO[bytes]]:
    """A new file, synced to the disk when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # O_NOFOLLOW: a symlink must not redirect the write out of the folder.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Sync a folder: a rename is durable only after that."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
