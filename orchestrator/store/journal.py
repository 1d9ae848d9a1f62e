"""The journal: every finished run, one JSON file each, on disk before the next run is taken in.

`journal/<cell_id>.<repeat>.json` holds `{"version", "environment", "device", "outcome"}`. JSON and not pickle: reading
it runs nothing.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Literal

from pydantic import ValidationError

from orchestrator.store.folder import Folder, StoreError, UnansweredError
from orchestrator.store.lock import Hold
from orchestrator.store.rescue import Rescue
from workers.records import Outcome, Record, Run

JOURNAL_VERSION: Literal[1] = 1
"""1: the first."""

SET_ASIDE = "journal-corrupt"

_TRIES_S = (0.2, 1.0, 3.0)
"""Pauses between tries of a refused write: a bucket that throttles recovers, a full disk does not."""

_PATIENCE_S = 20.0
"""No further try is begun this long after the first: a network that refuses only after so long will again."""

_AHEAD = 256
"""Files read ahead of whoever takes them in: the driver's memory must not grow with the sweep."""


class _Entry(Record):
    """One file of the journal."""

    version: Literal[1]
    environment: str
    device: str
    outcome: Outcome


class Journal:
    """The finished runs of one output folder.

    Args:
        folder: Where they lie.
        environment: Fingerprint of what measures (versions). Runs of another one are measured anew.
        device: What `device: auto` comes to here, `cuda` or `cpu`. Runs of the other one are measured anew; null, for
            reading only: any.
        hold: The lock of the folder, where this driver writes there: nothing is written once another has it.
    """

    def __init__(self, folder: Folder, environment: str, device: str | None = None, hold: Hold | None = None) -> None:
        self._folder = folder
        self._hold = hold
        self._environment = environment
        self._device = device
        self._corrupt: list[str] = []
        self._rescue: Rescue | None = None
        self._refusal: StoreError | None = None

    @property
    def refused(self) -> bool:
        """Whether the place takes no more runs: nothing further should be measured."""
        return self._refusal is not None

    def append(self, outcome: Outcome) -> None:
        """Write one finished run; where the place refuses it, with patience, it is rescued to this host's own disk.

        A refusal is raised by `check`, not here: runs that are finished by then have to be taken in first.
        """
        assert self._device is not None, "this journal is for reading"
        entry = _Entry(version=JOURNAL_VERSION, environment=self._environment, device=self._device, outcome=outcome)
        data = entry.model_dump_json().encode()
        if self._refusal is None:
            self._refusal = self._write(_name(outcome.run.key), data)
        if self._refusal is not None:
            self._rescue = self._rescue or Rescue()
            self._rescue.put(_file(outcome.run.key), data)

    def check(self) -> None:
        """Raise what kept a run from being written.

        Raises:
            StoreError: Names the place, and where the runs are that were rescued.
        """
        if self._refusal is not None and self._rescue is not None:
            raise StoreError(f"{self._refusal}. {self._rescue.advice(self._folder.path('journal'))}")

    def finished(self, *, retry_failed: bool = False, among: Collection[str] | None = None) -> dict[str, str]:
        """The runs that need not be made again, by key, with what they came to (`ok`, `failed`, `oom`...).

        They are of this environment, and ok unless failures are to stand.

        Runs that were `skipped` never count: whether they still must be is asked again each time.

        Args:
            retry_failed: Whether failures are to be measured again.
            among: Keys to look at; null: all.
        """
        taken = {"ok"} if retry_failed else {"ok", "failed", "oom", "timeout", "lost"}
        names = (name for name in self._folder.names("journal") if name.endswith(".json"))
        keys = (name.removesuffix(".json") for name in names)
        found = self._entries(key for key in keys if among is None or key in among)
        return {key: outcome.status for key, outcome in found if outcome is not None and outcome.status in taken}

    def others(self, keys: Collection[str]) -> list[str]:
        """Keys of the runs here that are not among `keys`, whatever they came to."""
        names = self._folder.names("journal")
        return [key for name in names if name.endswith(".json") and (key := name.removesuffix(".json")) not in keys]

    def set_corrupt_aside(self) -> list[str]:
        """Move away the files that could not be read, and return where they now lie."""
        names, self._corrupt = sorted(set(self._corrupt)), []
        for name in names:
            self._folder.move(f"journal/{name}", f"{SET_ASIDE}/{name}")
        return [self._folder.path(f"{SET_ASIDE}/{name}") for name in names]

    def outcomes(self, runs: Iterable[Run]) -> Iterator[Outcome]:
        """The outcomes of these runs, in their order.

        Raises:
            StoreError: One has gone missing since it was written: a table without it would pass for the whole.
        """
        for key, outcome in self._entries(run.key for run in runs):
            if outcome is None:
                raise StoreError(
                    f"{self._folder.path(_name(key))} was written, and is now missing or damaged; "
                    "start the same command again to measure it anew"
                )
            yield outcome

    def clear(self) -> None:
        """Start over: forget every run."""
        names = iter([f"journal/{name}" for name in self._folder.names("journal")])
        while some := list(islice(names, _AHEAD)):
            self._folder.delete_all(some)

    def _write(self, name: str, data: bytes) -> StoreError | None:
        began = time.monotonic()
        for pause_s in (*_TRIES_S, None):
            try:
                if self._hold:
                    self._hold.check()
                self._folder.write(name, data)
            except UnansweredError as error:
                return error
            except StoreError as error:
                if pause_s is None or time.monotonic() - began >= _PATIENCE_S:
                    return error
                time.sleep(pause_s)
            else:
                break
        return None

    def _entries(self, keys: Iterable[str]) -> Iterator[tuple[str, Outcome | None]]:
        keys = iter(keys)
        while some := list(islice(keys, _AHEAD)):
            for key, data in zip(some, self._folder.read_all([_name(key) for key in some]), strict=True):
                yield key, None if data is None else self._entry(key, data)

    def _entry(self, key: str, data: bytes) -> Outcome | None:
        """What stands under `key`, where it is possible, and of this environment and device."""
        try:
            entry = _Entry.model_validate_json(data)
        except ValidationError:
            entry = None
        if entry is None or entry.outcome.run.key != key:  # the latter: a file that somebody renamed or edited
            self._corrupt.append(_file(key))
            return None
        same = entry.environment == self._environment and self._device in (None, entry.device)
        return entry.outcome if same else None


def _file(key: str) -> str:
    return f"{key}.json"


def _name(key: str) -> str:
    return f"journal/{_file(key)}"
