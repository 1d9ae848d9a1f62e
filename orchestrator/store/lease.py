"""The lock of a folder in a bucket. A bucket has no locks, only objects that a PUT replaces whole.

Each driver writes its own claim and then lists all claims. It holds the folder if it is the only one; otherwise it
withdraws its claim. At most one of two drivers can hold the folder, however long their requests take: each lists after
its own claim was written, and lists are consistent with writes (guaranteed by S3, Google and MinIO), so the driver that
wrote second sees the other claim.

A claim that was not renewed for `STALE_S`, by the bucket's clock, is treated as abandoned. A driver that was only
suspended claims the folder again before it writes anything (`check`).
"""

import logging
import os
import random
import threading
import time
import uuid
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from orchestrator.store.bucket import STOPPING_TIMEOUT_S
from orchestrator.store.folder import Folder, StoreError, UnansweredError
from orchestrator.store.holder import held_by, this_machine, this_process
from workers.records import Record

STALE_S = 120.0
"""A claim that was not renewed for this long is abandoned. Unit: s."""

_EXPIRES_S = 90.0
"""A driver relies on its own claim only this long, as the clocks of a bucket's servers may differ. Unit: s."""

_TRIES = 6
"""Attempts of a driver to claim a folder while other drivers try at the same time."""

log = logging.getLogger("joulegrid")


class _HeldError(StoreError):
    """Another driver holds the folder."""


class _Claim(Record):
    """The contents of a claim."""

    who: str
    pid: int
    machine: str | None
    holding: bool
    """False until the driver holds the folder."""


class Lease:
    """Held while entered, and renewed by a thread, as a cell may take an hour.

    Args:
        folder: The folder to lock.
        name: The subfolder for the claims.
        renewed_s: Interval between renewals. Unit: s.

    Raises:
        StoreError: Another driver holds it.
    """

    def __init__(self, folder: Folder, name: str, renewed_s: float) -> None:
        self._folder, self._name, self._renewed_s = folder, name, renewed_s
        self._file = f"{uuid.uuid4().hex}.json"
        self._refusal: StoreError | None = None
        self._confirmed_at = float("-inf")
        self._exited = threading.Event()
        self._renewing = threading.Lock()
        self._renewer = threading.Thread(target=self._renew_repeatedly, name="lock", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._acquire()
        except UnansweredError:  # a withdrawal would get no answer either; the claim expires
            raise
        except BaseException:
            self._withdraw()
            raise
        self._renewer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._exited.set()
        self._renewing.acquire(timeout=STOPPING_TIMEOUT_S)  # so that no renewal follows the withdrawal
        self._withdraw()

    @property
    def lost(self) -> bool:
        """Whether another driver took over the folder."""
        return self._refusal is not None

    def check(self) -> None:
        """Make sure that no other driver holds the folder; asks the bucket only if the last confirmation is old.

        Raises:
            StoreError: Another driver holds it, or the bucket does not answer.
        """
        if self._refusal is None and _now() - self._confirmed_at >= _EXPIRES_S:
            self._renew()
        if self._refusal is not None:
            raise self._refusal

    def _acquire(self) -> None:
        for retries_left in reversed(range(_TRIES)):
            began = _now()
            self._claim(holding=False)
            others, dead = self._others()
            if not others:
                self._claim(holding=True)
                self._confirmed_at = began
                self._folder.delete_all(dead)
                return
            self._withdraw()
            if not retries_left or any(other.holding for other in others):
                raise _HeldError(_held(self._folder.out, others))
            _pause()

    def _renew_repeatedly(self) -> None:
        while not self._exited.wait(self._renewed_s) and not self.lost:
            try:
                self._renew()
            except StoreError:  # the next renewal may succeed; the journal reports lasting failures
                log.debug("the lock could not be renewed", exc_info=True)

    def _renew(self) -> None:
        with self._renewing:
            if self._exited.is_set() or self.lost:
                return
            began = _now()
            deleted = self._file not in self._folder.entries(self._name)
            if deleted or began - self._confirmed_at >= _EXPIRES_S:  # others may have seen no claim: start over
                self._claim_again(deleted=deleted)
                return
            self._claim(holding=True)
            if rivals := [other for other in self._others()[0] if other.holding]:
                self._lose(f"was ignored by another driver: {_held(self._folder.out, rivals)}")
            self._confirmed_at = began

    def _claim_again(self, *, deleted: bool) -> None:
        cause = "was deleted" if deleted else "could not be renewed in time"
        try:
            self._acquire()
        except _HeldError as error:
            self._lose(f"{cause}: {error}")
        else:
            log.warning("the lock %s %s; this driver holds it again", self._folder.path(self._name), cause)

    def _lose(self, cause: str) -> None:
        self._refusal = StoreError(f"this driver's lock {self._folder.path(self._name)} {cause}")
        self._withdraw()

    def _claim(self, *, holding: bool) -> None:
        mine = _Claim(who=this_process(), pid=os.getpid(), machine=this_machine(), holding=holding)
        self._folder.write(f"{self._name}/{self._file}", mine.model_dump_json().encode())

    def _withdraw(self) -> None:
        try:
            self._folder.delete(f"{self._name}/{self._file}")
        except StoreError:  # errors of the bucket were already reported; the claim expires
            log.debug("the lock could not be deleted", exc_info=True)

    def _others(self) -> tuple[list[_Claim], list[str]]:
        """The claims of other live drivers, and the names of the abandoned claims."""
        written = self._folder.entries(self._name)
        now = written.pop(self._file, float("-inf"))  # just written, so this is the bucket's current time
        stale = [name for name, at in written.items() if now - at >= STALE_S]
        fresh = [name for name in written if name not in stale]
        names = [f"{self._name}/{name}" for name in fresh]
        contents = zip(names, self._folder.read_all(names), strict=True)
        claims = {name: self._parsed(name, data) for name, data in contents if data is not None}
        dead = [name for name, claim in claims.items() if _is_gone(claim)]
        live = [claim for name, claim in claims.items() if name not in dead]
        return live, dead + [f"{self._name}/{name}" for name in stale]

    def _parsed(self, name: str, data: bytes) -> _Claim:
        try:
            return _Claim.model_validate_json(data)
        except ValidationError:
            path = self._folder.path(name)
            raise StoreError(f"{path} is not a lock of JouleGrid; delete it if no driver is running") from None


def _is_gone(claim: _Claim) -> bool:
    """Whether the claim is of a process of this machine that has ended."""
    return claim.machine is not None and claim.machine == this_machine() and not Path(f"/proc/{claim.pid}").exists()


def _now() -> float:
    """A clock that includes the time while the machine is suspended, when claims expire too. Unit: s."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))  # macOS has no CLOCK_BOOTTIME


def _pause() -> None:
    time.sleep(random.uniform(0.1, 1.5))  # noqa: S311 - so that two drivers do not collide again


def _held(out: str, others: list[_Claim]) -> str:
    first = min(others, key=lambda other: not other.holding)
    return f"{held_by(out, first.who)}; if that driver is gone, its lock expires {STALE_S:g} s after its last renewal"
