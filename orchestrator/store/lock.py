"""One driver per output folder: two that write the same journal would take each other's runs for their own."""

import contextlib
import fcntl
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from orchestrator.store.folder import Folder, StoreError
from workers.records import Record

LOCK = "driver.lock"
STALE_S = 120.0
"""A bucket's lock that nobody has renewed for this long belongs to a driver that is gone."""


@contextlib.contextmanager
def only_driver(folder: Folder) -> Iterator["Renewal"]:
    """Hold the folder for this process.

    Raises:
        StoreError: Another driver holds it; the message says which.
    """
    if folder.is_local:
        with _flock(Path(folder.path(LOCK)), folder.out):
            yield Renewal()
    else:
        renewal = _BucketLock(folder)
        try:
            yield renewal
        finally:
            folder.delete(LOCK)


class Renewal:
    """What the driver calls now and then while it holds the folder. On a disk the kernel watches: nothing to do."""

    def renew(self) -> None:
        """Say that this driver still lives."""


@contextlib.contextmanager
def _flock(path: Path, out: str) -> Iterator[None]:
    """The kernel lets go when the process ends, however it ends: no lock outlives its driver."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StoreError(_held(out, file.read().strip() or "another process")) from None
        file.truncate(0)
        file.write(_who())
        file.flush()
        yield


class _Holder(Record):
    who: str
    token: str
    renewed_unix_s: float


class _BucketLock(Renewal):
    """A bucket has no locks, only objects: ours says who we are and when we last lived, and is read back before use."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._token = uuid.uuid4().hex
        self._renewed = 0.0
        holder = self._holder()
        if holder and time.time() - holder.renewed_unix_s < STALE_S:
            raise StoreError(_held(folder.out, holder.who))
        self.renew()
        time.sleep(0.5)  # two drivers that began together both wrote: the later one stands
        holder = self._holder()
        if holder and holder.token != self._token:
            raise StoreError(_held(folder.out, holder.who))

    def renew(self) -> None:
        if time.monotonic() - self._renewed > STALE_S / 4:
            mine = _Holder(who=_who(), token=self._token, renewed_unix_s=time.time())
            self._folder.write(LOCK, mine.model_dump_json().encode())
            self._renewed = time.monotonic()

    def _holder(self) -> _Holder | None:
        try:
            return _Holder.model_validate_json(self._folder.read(LOCK))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {self._folder.path(LOCK)}: {error}") from error


def _who() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _held(out: str, who: str) -> str:
    return f"out: {out!r} is being written by {who}; wait for it, or give this sweep an `out` of its own"
