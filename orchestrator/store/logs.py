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
        self._there = {f"{LOGS}/{name}" for name in folder.names(LOGS)}
        self._refused = False

    def clear(self) -> None:
        """Start over: forget every log."""
        self._folder.delete_all(sorted(self._there))
        self._there.clear()

    def named(self, outcome: Outcome) -> Outcome:
        """The outcome, whose failure names the log that `keep` is about to write."""
        if self._refused or outcome.failure is None or not _text(outcome):
            return outcome
        return outcome.model_copy(update={"failure": outcome.failure.model_copy(update={"log": _path(outcome)})})

    def keep(self, outcome: Outcome) -> None:
        """Write what the run printed and where it failed. Comes after the journal, for it may take as long as a result.

        A log that cannot be written is said once, and costs no result: the journal is what must be kept.
        """
        path, text = _path(outcome), _text(outcome)
        try:
            if self._refused:
                return
            if text:
                self._folder.write(path, shortened(text, _MOST_CHARACTERS).encode())
            elif path in self._there:  # of an earlier try, which failed
                self._folder.delete(path)
        except StoreError as error:
            self._refused = True
            log.warning("no logs of runs are kept: %s", error)


def _path(outcome: Outcome) -> str:
    return f"{LOGS}/{outcome.run.key}.log"


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
