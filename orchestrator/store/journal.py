"""The journal: every finished run, one JSON file each, on disk before the next run is taken in.

`journal/<cell_id>.<repeat>.json` holds `{"version", "environment", "outcome"}`. JSON and not pickle: reading it runs
nothing.
"""

import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from orchestrator.store.folder import Folder, StoreError
from workers.records import Outcome, Record, Run

JOURNAL_VERSION: Literal[1] = 1
"""1: the first."""

_TRIES_S = (0.2, 1.0, 3.0)
"""Pauses between tries of a refused write: a bucket that throttles recovers, a full disk does not."""

_READERS = 16
"""Files read at once: on a bucket each costs a round trip."""


class _Entry(Record):
    """One file of the journal."""

    version: Literal[1]
    environment: str
    outcome: Outcome


class Journal:
    """The finished runs of one output folder.

    Args:
        folder: Where they lie.
        environment: Fingerprint of what measures (versions). Runs of another one are measured anew.
    """

    def __init__(self, folder: Folder, environment: str) -> None:
        self._folder = folder
        self._environment = environment
        self.corrupt: list[str] = []
        """Files that could not be read and were set aside under `journal-corrupt/`."""

    def append(self, outcome: Outcome) -> None:
        """Write one finished run.

        Raises:
            StoreError: It could not be written, with patience; the run is rescued to a temporary file that the message
                names.
        """
        entry = _Entry(version=JOURNAL_VERSION, environment=self._environment, outcome=outcome)
        data = entry.model_dump_json().encode()
        name = _name(outcome.run.key)
        for pause_s in (*_TRIES_S, None):
            try:
                self._folder.write(name, data)
            except StoreError as error:
                if pause_s is None:
                    raise StoreError(f"{error}. {_rescue(data, self._folder.path(name))}") from error
                time.sleep(pause_s)
            else:
                return

    def finished(self, *, retry_failed: bool = False) -> set[str]:
        """Keys of the runs that need not be made again: of this environment, and ok unless failures are to stand.

        Runs that were `skipped` never count: whether they still must be is asked again each time.
        """
        taken = {"ok"} if retry_failed else {"ok", "failed", "oom", "timeout", "lost"}
        found = self._entries(name.removesuffix(".json") for name in self._folder.names("journal"))
        return {outcome.run.key for outcome in found if outcome.status in taken}

    def outcomes(self, runs: Iterable[Run]) -> Iterator[Outcome]:
        """The finished ones among `runs`, in their order."""
        return self._entries(run.key for run in runs)

    def clear(self) -> None:
        """Start over: forget every run."""
        for name in self._folder.names("journal"):
            self._folder.delete(f"journal/{name}")

    def _entries(self, keys: Iterable[str]) -> Iterator[Outcome]:
        with ThreadPoolExecutor(_READERS) as pool:
            for outcome in pool.map(self._entry, keys):
                if outcome is not None:
                    yield outcome

    def _entry(self, key: str) -> Outcome | None:
        name = _name(key)
        try:
            entry = _Entry.model_validate_json(self._folder.read(name))
        except FileNotFoundError:
            return None
        except ValidationError:
            entry = None
        if entry is None or entry.outcome.run.key != key:  # the latter: a file that somebody renamed
            self._folder.move(name, f"journal-corrupt/{name.rpartition('/')[2]}")
            self.corrupt.append(self._folder.path(name))
            return None
        return entry.outcome if entry.environment == self._environment else None


def _name(key: str) -> str:
    return f"journal/{key}.json"


def _rescue(data: bytes, target: str) -> str:
    """A measured run is not thrown away because its place is full."""
    try:
        with tempfile.NamedTemporaryFile("wb", prefix="joulegrid-", suffix=".json", delete=False) as file:
            file.write(data)
    except OSError as error:
        return f"The run could not be rescued either: {error.strerror}"
    return f"The run is rescued: move {Path(file.name)} to {target} and start the same command again"
