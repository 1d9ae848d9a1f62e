"""A log for each run that printed something or failed: `logs/CELL.REPEAT.log`, beside the journal."""

import logging

from orchestrator.store.folder import Folder, StoreError
from workers.records import Outcome, ProcessFailure
from workers.records.text import shortened

LOGS = "logs"

_MOST_CHARACTERS = 512_000

log = logging.getLogger("joulegrid")


class Logs:
    """The logs of one output folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._there = set(folder.names(LOGS))
        self._refused = False

    def clear(self) -> None:
        """Start over: forget every log."""
        self._folder.delete_all([f"{LOGS}/{name}" for name in self._there])
        self._there.clear()

    def keep(self, outcome: Outcome) -> Outcome:
        """Write what the run printed and where it failed; returns the outcome, whose failure names the log.

        A log that cannot be written is said once, and costs no result: the journal is what must be kept.
        """
        name, text = f"{outcome.run.key}.log", _text(outcome)
        if self._refused or not (text or name in self._there):
            return outcome
        path = f"{LOGS}/{name}"
        try:
            if not text:  # of an earlier try, which failed
                self._folder.delete(path)
                return outcome
            self._folder.write(path, shortened(text, _MOST_CHARACTERS).encode())
        except StoreError as error:
            self._refused = True
            log.warning("no logs of runs are kept: %s", error)
            return outcome
        if outcome.failure is None:
            return outcome
        return outcome.model_copy(update={"failure": outcome.failure.model_copy(update={"log": path})})


def _text(outcome: Outcome) -> str:
    """Each try that failed, with its traceback, then what the processes printed; empty where there is neither."""
    tries = [*outcome.earlier_failures, *([outcome.failure] if outcome.failure else [])]
    parts = [*map(_failed, (each for each in tries if each.attempt)), outcome.printed]
    return "\n".join(part for part in parts if part)


def _failed(failure: ProcessFailure) -> str:
    where = f" on {failure.host}" if failure.host else ""
    rank = "" if failure.rank is None else f", rank {failure.rank}"
    ended = f"try {failure.attempt}{where}{rank}: {failure.status}, {failure.error_type}: {failure.error_message}\n"
    return ended + (failure.traceback or "")
