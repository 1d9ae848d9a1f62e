"""A folder on a disk: a name appears whole or not at all, because a file is written aside, synced and renamed."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

_ASIDE = ".part"
_READERS = 16
"""Files read at once: on a shared disk each costs a round trip."""


class Disk:
    """The folder `root`; it is made when something is written to it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def writing(self, *names: str) -> Iterator[list[IO[bytes]]]:
        """A file for each name; they take their names, in this order, once all of them are whole and synced."""
        targets = [self._root / name for name in names]
        asides = [target.with_name(target.name + _ASIDE) for target in targets]
        try:
            with contextlib.ExitStack() as stack:
                yield [stack.enter_context(_synced(aside)) for aside in asides]
            for aside, target in zip(asides, targets, strict=True):
                aside.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                for aside in asides:
                    aside.unlink(missing_ok=True)
            raise
        for folder in dict.fromkeys(target.parent for target in targets):
            _sync(folder)

    def write(self, name: str, data: bytes) -> None:
        """Put `data` under `name`."""
        with self.writing(name) as (file,):
            file.write(data)

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """What stands under each name; null where there is no such name."""
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(self._read, names))

    def entries(self, inside: str) -> dict[str, float]:
        """Finished files directly in the subfolder `inside`, and when each was last written. Unit: s since 1970."""
        entries = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._root / inside) as found:
            for one in found:
                with contextlib.suppress(FileNotFoundError):  # somebody has just deleted it
                    if one.is_file() and not one.name.endswith(_ASIDE):
                        entries[one.name] = one.stat().st_mtime
        return entries

    def move(self, name: str, to: str) -> None:
        """Rename within the folder."""
        target = self._root / to
        target.parent.mkdir(parents=True, exist_ok=True)
        (self._root / name).replace(target)

    def delete_all(self, names: Sequence[str]) -> None:
        """Remove the names; nothing happens where one is none."""
        for name in names:
            (self._root / name).unlink(missing_ok=True)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None


@contextlib.contextmanager
def _synced(path: Path) -> Iterator[IO[bytes]]:
    """A new file, on the disk where the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not through a link: what is written in the folder stays in the folder.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """A rename is durable only once the folder is."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
