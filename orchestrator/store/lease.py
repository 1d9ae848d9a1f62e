"""A folder's lock in a bucket, which has no locks, only objects that a PUT replaces whole.

Each driver that wants the folder writes a claim of its own, and then lists all claims. It holds the folder if there is
no other one, and withdraws otherwise. So of two drivers at most one holds it, however long their requests take: each
lists after its own claim was written, and lists are consistent with writes (S3, Google and MinIO promise that), so
whichever wrote second sees the other.

A claim that was not renewed for `STALE_S` belongs to a driver that is gone. Its age is told by the bucket's own clock.
Its driver, if it was only suspended, asks again before it writes anything (`check`).
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

from orchestrator.store.bucket import HURRIED_S
from orchestrator.store.folder import Folder, StoreError, UnansweredError
from orchestrator.store.holder import held_by, this_machine, this_process
from workers.records import Record

STALE_S = 120.0
"""A claim that nobody has renewed for this long belongs to a driver that is gone."""

_LAPSES_S = 90.0
"""Earlier than that, its own driver no longer relies on it: the clocks of a bucket's servers may differ a little."""

_TRIES = 6
"""How often a driver asks that met others who asked at the same moment, and withdrew as they did."""

log = logging.getLogger("joulegrid")


class _HeldError(StoreError):
    """Another driver holds the folder."""


class _Claim(Record):
    """What a driver writes."""

    who: str
    pid: int
    machine: str | None
    holding: bool
    """False while it asks."""


class Lease:
    """Held while entered, and renewed by a thread of its own, for a cell may take an hour.

    Args:
        folder: What to hold.
        name: The subfolder for the claims.
        renewed_s: How often the claim is renewed. Unit: s.

    Raises:
        StoreError: Another driver holds it.
    """

    def __init__(self, folder: Folder, name: str, renewed_s: float) -> None:
        self._folder, self._name, self._renewed_s = folder, name, renewed_s
        self._file = f"{uuid.uuid4().hex}.json"
        self._refusal: StoreError | None = None
        self._sure_at = float("-inf")
        self._left = threading.Event()
        self._renewing = threading.Lock()
        self._keeper = threading.Thread(target=self._keep, name="lock", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._take()
        except UnansweredError:  # nor would it answer this; a claim that came through lapses by itself
            raise
        except BaseException:
            self._withdraw()
            raise
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._renewing.acquire(timeout=HURRIED_S)  # so that no renewal comes after
        self._withdraw()

    @property
    def lost(self) -> bool:
        """Whether another driver has taken the folder over."""
        return self._refusal is not None

    def check(self) -> None:
        """Make sure that no other driver has the folder; asks the bucket only where that was long ago.

        Raises:
            StoreError: One has, or the bucket does not say.
        """
        if self._refusal is None and _now() - self._sure_at >= _LAPSES_S:
            self._renew()
        if self._refusal is not None:
            raise self._refusal

    def _take(self) -> None:
        for left in reversed(range(_TRIES)):
            began = _now()
            self._claim(holding=False)
            others, dead = self._others()
            if not others:
                self._claim(holding=True)
                self._sure_at = began
                self._folder.delete_all(dead)
                return
            self._withdraw()
            if not left or any(other.holding for other in others):
                raise _HeldError(_held(self._folder.out, others))
            _pause()

    def _keep(self) -> None:
        while not self._left.wait(self._renewed_s) and not self.lost:
            try:
                self._renew()
            except StoreError:  # the next time may go well; the journal reports what does not
                log.debug("the lock could not be renewed", exc_info=True)

    def _renew(self) -> None:
        with self._renewing:
            if self._left.is_set() or self.lost:
                return
            began = _now()
            deleted = self._file not in self._folder.entries(self._name)
            if deleted or began - self._sure_at >= _LAPSES_S:  # others may have found no claim: ask as at first
                self._take_again(deleted=deleted)
                return
            self._claim(holding=True)
            if rivals := [other for other in self._others()[0] if other.holding]:
                self._lose(f"went unheeded: {_held(self._folder.out, rivals)}")
            self._sure_at = began

    def _take_again(self, *, deleted: bool) -> None:
        what = "was deleted" if deleted else "could not be renewed in time"
        try:
            self._take()
        except _HeldError as error:
            self._lose(f"{what}: {error}")
        else:
            log.warning("the lock %s %s; this driver holds it again", self._folder.path(self._name), what)

    def _lose(self, how: str) -> None:
        self._refusal = StoreError(f"this driver's lock {self._folder.path(self._name)} {how}")
        self._withdraw()

    def _claim(self, *, holding: bool) -> None:
        mine = _Claim(who=this_process(), pid=os.getpid(), machine=this_machine(), holding=holding)
        self._folder.write(f"{self._name}/{self._file}", mine.model_dump_json().encode())

    def _withdraw(self) -> None:
        try:
            self._folder.delete(f"{self._name}/{self._file}")
        except StoreError:  # a bucket that refuses has been reported; the claim lapses by itself
            log.debug("the lock could not be deleted", exc_info=True)

    def _others(self) -> tuple[list[_Claim], list[str]]:
        """The claims of other drivers that live, and the names of those whose drivers are gone."""
        written = self._folder.entries(self._name)
        now = written.pop(self._file, float("-inf"))  # it was written a moment ago, by the same clock
        stale = [name for name, at in written.items() if now - at >= STALE_S]
        fresh = [name for name in written if name not in stale]
        names = [f"{self._name}/{name}" for name in fresh]
        found = zip(names, self._folder.read_all(names), strict=True)
        claims = {name: self._parsed(name, data) for name, data in found if data is not None}
        dead = [name for name, claim in claims.items() if _is_gone(claim)]
        living = [claim for name, claim in claims.items() if name not in dead]
        return living, dead + [f"{self._name}/{name}" for name in stale]

    def _parsed(self, name: str, data: bytes) -> _Claim:
        try:
            return _Claim.model_validate_json(data)
        except ValidationError:
            where = self._folder.path(name)
            raise StoreError(f"{where} is no lock of this program; delete it if no driver runs") from None


def _is_gone(claim: _Claim) -> bool:
    """Whether a driver ran on this machine and is no process of it any more."""
    return claim.machine is not None and claim.machine == this_machine() and not Path(f"/proc/{claim.pid}").exists()


def _now() -> float:
    """A clock that also runs while the machine sleeps, when others take the claim for stale. Unit: s."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))  # the same on macOS


def _pause() -> None:
    time.sleep(random.uniform(0.1, 1.5))  # noqa: S311 - so that two do not meet again


def _held(out: str, others: list[_Claim]) -> str:
    first = min(others, key=lambda other: not other.holding)
    return f"{held_by(out, first.who)}; if it is gone, its lock lapses {STALE_S:g} s after its last sign of life"
