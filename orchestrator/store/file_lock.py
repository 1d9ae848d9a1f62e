"""The lock of a folder on a disk: a kernel lock (flock) on a file that is never removed."""

import contextlib
import fcntl
import logging
import os
from pathlib import Path
from typing import Self

from orchestrator.store.folder import StoreError
from orchestrator.store.holder import held_by, this_process

log = logging.getLogger("joulegrid")


class FileLock:
    """Held while entered. Nobody can take over a kernel lock, but somebody can delete the file and lock a new one.

    Raises:
        StoreError: Another process holds it.
    """

    def __init__(self, path: Path, out: str) -> None:
        self._path, self._out = path, out
        self._refusal: StoreError | None = None

    def __enter__(self) -> Self:
        self._file = self._open_locked()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    @property
    def lost(self) -> bool:
        """Whether another driver holds the folder. If the lock file was deleted, this tries to lock a new one."""
        if self._refusal is None and not _is_at(self._file, self._path):
            self._lock_again()
        return self._refusal is not None

    def check(self) -> None:
        """Raise an error if another driver holds the folder.

        Raises:
            StoreError: Another driver holds the folder; the message names it.
        """
        if self.lost and self._refusal is not None:
            raise self._refusal

    def _lock_again(self) -> None:
        try:
            file = self._open_locked()
        except StoreError as error:
            self._refusal = StoreError(f"{self._path} was deleted while this driver held it; now {error}")
            return
        log.warning("%s was deleted while this driver held it; this driver locked a new one", self._path)
        os.close(self._file)
        self._file = file

    def _open_locked(self) -> int:
        """Open the file and lock it."""
        while True:
            file = self._open()
            try:
                self._lock(file)
                if _is_at(file, self._path):  # else somebody deleted it before it was locked
                    with contextlib.suppress(OSError):  # on a full disk, the lock holds without its owner's name
                        os.ftruncate(file, 0)
                        os.pwrite(file, this_process().encode(), 0)
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)

    def _open(self) -> int:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from error

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(file, 1000, 0).decode(errors="replace")
            raise StoreError(held_by(self._out, owner or "another process")) from None
        except OSError as error:  # a shared file system without locks
            raise StoreError(f"cannot lock {self._path}: {error.strerror}") from error


def _is_at(file: int, path: Path) -> bool:
    """Whether the open file is the one at `path`; assumed if `path` cannot be read."""
    try:
        return os.path.samestat(os.fstat(file), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
    except OSError:
        return True
