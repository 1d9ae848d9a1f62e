"""A folder's lock on a disk: the kernel's, on a file that stays."""

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
    """Held while entered. The kernel's lock cannot be taken over, but the file can be deleted, and another one locked.

    Raises:
        StoreError: Another process holds it.
    """

    def __init__(self, path: Path, out: str) -> None:
        self._path, self._out = path, out
        self._refusal: StoreError | None = None

    def __enter__(self) -> Self:
        self._file = self._locked()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    @property
    def lost(self) -> bool:
        """Whether another driver has the folder. A lock that was deleted is noticed here, and taken again if it can."""
        if self._refusal is None and not _stands_at(self._file, self._path):
            self._take_again()
        return self._refusal is not None

    def check(self) -> None:
        """Raise where another driver has the folder.

        Raises:
            StoreError: Says which.
        """
        if self.lost and self._refusal is not None:
            raise self._refusal

    def _take_again(self) -> None:
        try:
            file = self._locked()
        except StoreError as error:
            self._refusal = StoreError(f"{self._path} was deleted while this driver held it, and now {error}")
            return
        log.warning("%s was deleted while this driver held it; it holds a new one", self._path)
        os.close(self._file)
        self._file = file

    def _locked(self) -> int:
        """The file, open and locked."""
        while True:
            file = self._opened()
            try:
                self._lock(file)
                if _stands_at(file, self._path):  # not where somebody deleted it between the two
                    with contextlib.suppress(OSError):  # on a full disk it holds, though it cannot say whose it is
                        os.ftruncate(file, 0)
                        os.pwrite(file, this_process().encode(), 0)
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)

    def _opened(self) -> int:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from error

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(file, 1000, 0).decode(errors="replace")
            raise StoreError(held_by(self._out, who or "another process")) from None
        except OSError as error:  # a shared file system that knows no locks
            raise StoreError(f"cannot lock {self._path}: {error.strerror}") from error


def _stands_at(file: int, path: Path) -> bool:
    """Whether the open file is the one under that name; one that cannot be looked at is taken to be."""
    try:
        return os.path.samestat(os.fstat(file), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
    except OSError:
        return True
