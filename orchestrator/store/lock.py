"""One driver per output folder: two that write the same journal would take each other's runs for their own.

On a disk the kernel keeps the lock, and lets go when the process ends, however it ends. A bucket has no locks, only
objects: ours says who we are and when we last lived. It is renewed by a thread of its own, for a cell may take an hour.
"""

import contextlib
import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from orchestrator.store.folder import Folder, StoreError
from workers.records import Record

LOCK = "driver.lock"

STALE_S = 120.0
"""A bucket's lock that nobody has renewed for this long belongs to a driver that is gone. Hosts' clocks should agree
better than that."""

_SETTLES_S = 0.5
"""Two drivers that began together both wrote the lock; after this long both see whose stands."""


class Hold(Protocol):
    """What a driver has while it holds a folder."""

    @property
    def lost(self) -> bool:
        """Whether another driver has taken the folder over: nothing further should be measured."""

    def check(self) -> None:
        """Raise `StoreError` where another driver has taken the folder over."""


@contextlib.contextmanager
def only_driver(folder: Folder, *, renewed_s: float = STALE_S / 8) -> Iterator[Hold]:
    """Hold the folder for this process.

    Args:
        folder: What to hold.
        renewed_s: How often a bucket's lock is renewed. Unit: s.

    Raises:
        StoreError: Another driver holds it; the message says which.
    """
    with _locked_file(Path(folder.path(LOCK)), folder.out) if folder.is_local else _Lease(folder, renewed_s) as hold:
        yield hold


class _Kernels:
    """The kernel's lock: nobody can take it over."""

    lost = False

    def check(self) -> None:
        """Nothing to look at."""


@contextlib.contextmanager
def _locked_file(path: Path, out: str) -> Iterator[Hold]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(file, "r+b", buffering=0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(file, 1000, 0).decode(errors="replace")
            raise StoreError(_held(out, who or "another process")) from None
        except OSError as error:  # a shared file system that knows no locks
            raise StoreError(f"cannot lock {path}: {error.strerror}") from error
        with contextlib.suppress(OSError):  # on a full disk the lock holds, though it cannot say whose it is
            os.ftruncate(file, 0)
            os.pwrite(file, _who().encode(), 0)
        yield _Kernels()


class _Holder(Record):
    """What stands in a bucket's lock."""

    who: str
    token: str
    pid: int
    machine: str | None
    renewed_unix_s: float


class _Lease:
    """A bucket's lock: taken on entering, kept by a thread, given back on leaving."""

    def __init__(self, folder: Folder, renewed_s: float) -> None:
        self._folder = folder
        self._renewed_s = renewed_s
        self._token = uuid.uuid4().hex
        self._lost_to: str | None = None
        self._left = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lock", daemon=True)

    @property
    def lost(self) -> bool:
        return self._lost_to is not None

    def check(self) -> None:
        if self._lost_to is not None:
            raise StoreError(_held(self._folder.out, self._lost_to))

    def __enter__(self) -> Hold:
        holder = self._holder()
        if holder and not _is_gone(holder):
            raise StoreError(_held(self._folder.out, holder.who, lapses=True))
        try:
            self._renew()
            time.sleep(_SETTLES_S)
            holder = self._holder()
            if holder and holder.token != self._token:
                self._lost_to = holder.who
                self.check()
        except BaseException:
            self.__exit__()
            raise
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        if self._keeper.is_alive():
            self._keeper.join(timeout=self._renewed_s)
        with contextlib.suppress(StoreError):  # a bucket that refuses has been reported; the lock lapses by itself
            if not self.lost:
                self._folder.delete(LOCK)

    def _keep(self) -> None:
        while not self._left.wait(self._renewed_s):
            with contextlib.suppress(StoreError):  # the next time may go well; the journal reports what does not
                holder = self._holder()
                if holder and holder.token != self._token:
                    self._lost_to = holder.who
                    return
                self._renew()

    def _renew(self) -> None:
        mine = _Holder(who=_who(), token=self._token, pid=os.getpid(), machine=_machine(), renewed_unix_s=time.time())
        self._folder.write(LOCK, mine.model_dump_json().encode())

    def _holder(self) -> _Holder | None:
        data = self._folder.read(LOCK)
        try:
            return None if data is None else _Holder.model_validate_json(data)
        except ValidationError:
            raise StoreError(
                f"{self._folder.path(LOCK)} is no lock of this program; delete it if no driver runs"
            ) from None


def _is_gone(holder: _Holder) -> bool:
    """Whether the driver is known to live no more: it lies silent, or ran on this machine and is no process of it."""
    if time.time() - holder.renewed_unix_s >= STALE_S:
        return True
    return holder.machine is not None and holder.machine == _machine() and not Path(f"/proc/{holder.pid}").exists()


def _machine() -> str | None:
    """This boot of this host, and its table of processes: containers have their own. Null where neither is known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _who() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _held(out: str, who: str, *, lapses: bool = False) -> str:
    mend = "wait for it, or give this sweep an `out` of its own"
    if lapses:
        mend += f"; if that process is gone, its lock lapses {STALE_S:g} s after its last sign of life"
    return f"out: {out!r} is being written by {who}; {mend}"
