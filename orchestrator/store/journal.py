"""The journal: one JSON file per finished run, written before the next run is accepted.

`journal/<cell_id>.<repeat>.json` holds `{"version", "environment", "device", "outcome"}`. It is JSON and not
pickle, so that reading it executes nothing.
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

CORRUPT = "journal-corrupt"

_RETRY_PAUSES_S = (0.2, 1.0, 3.0)
"""Pauses between attempts of a failed write: a bucket that throttles recovers. Unit: s."""

_RETRY_FOR_S = 20.0
"""No retry starts later than this after the first attempt: slow failures repeat. Unit: s."""

_BATCH = 256
"""Files read at a time, so that the driver's memory does not grow with the sweep."""


class _Entry(Record):
    """The contents of a journal file."""

    version: Literal[1]
    environment: str
    device: str
    outcome: Outcome


class Journal:
    """The finished runs of one output folder.

    Args:
        folder: The output folder.
        environment: Fingerprint of the installed versions. Runs of another environment are measured again.
        device: What `device: auto` means here, `cuda` or `cpu`. Runs on the other one are measured again. Null accepts
            both, for reading only.
        hold: The lock of the folder, needed for writing: nothing is written after another driver took it over.
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
        """Whether a write failed for good; nothing more should be measured then."""
        return self._refusal is not None

    def append(self, outcome: Outcome) -> None:
        """Write one finished run. If the write fails after retries, save the run on this host's disk instead.

        `check` raises the error, not this method: the other finished runs have to be saved first.
        """
        assert self._device is not None, "this journal is read-only"
        entry = _Entry(version=JOURNAL_VERSION, environment=self._environment, device=self._device, outcome=outcome)
        data = entry.model_dump_json().encode()
        if self._refusal is None:
            self._refusal = self._write(_name(outcome.run.key), data)
        if self._refusal is not None:
            self._rescue = self._rescue or Rescue()
            self._rescue.put(_file(outcome.run.key), data)

    def check(self) -> None:
        """Raise the error of the first run that could not be written, if there is one.

        Raises:
            StoreError: A write failed; the message says where the runs were saved instead.
        """
        if self._refusal is not None and self._rescue is not None:
            raise StoreError(f"{self._refusal}. {self._rescue.advice(self._folder.path('journal'))}")

    def finished(self, *, retry_failed: bool = False, among: Collection[str] | None = None) -> dict[str, str]:
        """The finished runs of this environment, key -> status (`ok`, `failed`, `oom`...).

        Runs that were `skipped` are not included: whether to skip them is decided each time.

        Args:
            retry_failed: Leave out failed runs, so that they are measured again.
            among: The keys to check; null checks all.
        """
        statuses = {"ok"} if retry_failed else {"ok", "failed", "oom", "timeout", "lost"}
        names = (name for name in self._folder.names("journal") if name.endswith(".json"))
        keys = (name.removesuffix(".json") for name in names)
        entries = self._entries(key for key in keys if among is None or key in among)
        return {key: outcome.status for key, outcome in entries if outcome is not None and outcome.status in statuses}

    def others(self, keys: Collection[str]) -> list[str]:
        """Keys of the runs in the journal, of any status, that are not among `keys`."""
        names = self._folder.names("journal")
        return [key for name in names if name.endswith(".json") and (key := name.removesuffix(".json")) not in keys]

    def move_corrupt(self) -> list[str]:
        """Move the files that could not be read to `journal-corrupt/`; returns their new paths."""
        names, self._corrupt = sorted(set(self._corrupt)), []
        for name in names:
            self._folder.move(f"journal/{name}", f"{CORRUPT}/{name}")
        return [self._folder.path(f"{CORRUPT}/{name}") for name in names]

    def outcomes(self, runs: Iterable[Run]) -> Iterator[Outcome]:
        """The outcomes of `runs`, in the same order.

        Raises:
            StoreError: A file is missing or damaged, so the tables would be incomplete.
        """
        for key, outcome in self._entries(run.key for run in runs):
            if outcome is None:
                raise StoreError(
                    f"{self._folder.path(_name(key))} was written, and is now missing or damaged; "
                    "run the same command again to repeat the run"
                )
            yield outcome

    def clear(self) -> None:
        """Delete every run."""
        names = iter([f"journal/{name}" for name in self._folder.names("journal")])
        while batch := list(islice(names, _BATCH)):
            self._folder.delete_all(batch)

    def _write(self, name: str, data: bytes) -> StoreError | None:
        began = time.monotonic()
        for pause_s in (*_RETRY_PAUSES_S, None):
            try:
                if self._hold:
                    self._hold.check()
                self._folder.write(name, data)
            except UnansweredError as error:
                return error
            except StoreError as error:
                if pause_s is None or time.monotonic() - began >= _RETRY_FOR_S:
                    return error
                time.sleep(pause_s)
            else:
                break
        return None

    def _entries(self, keys: Iterable[str]) -> Iterator[tuple[str, Outcome | None]]:
        keys = iter(keys)
        while batch := list(islice(keys, _BATCH)):
            for key, data in zip(batch, self._folder.read_all([_name(key) for key in batch]), strict=True):
                yield key, None if data is None else self._entry(key, data)

    def _entry(self, key: str, data: bytes) -> Outcome | None:
        """The outcome of `key`; null if it is corrupt, or of another environment or device."""
        try:
            entry = _Entry.model_validate_json(data)
        except ValidationError:
            entry = None
        if entry is None or entry.outcome.run.key != key:  # the latter: somebody renamed or edited the file
            self._corrupt.append(_file(key))
            return None
        matches = entry.environment == self._environment and self._device in (None, entry.device)
        return entry.outcome if matches else None


def _file(key: str) -> str:
    return f"{key}.json"


def _name(key: str) -> str:
    return f"journal/{_file(key)}"
