"""A log of each run that failed or printed something: `logs/CELL.REPEAT.log`, next to the journal."""

import logging

from orchestrator.store.folder import Folder, StoreError
from workers.records import Outcome, ProcessFailure
from workers.records.text import shortened

LOGS = "logs"

_MAX_CHARACTERS = 512_000

log = logging.getLogger("joulegrid")


class Logs:
    """The logs of one output folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._existing = {f"{LOGS}/{name}" for name in folder.names(LOGS)}
        self._failed_to_write = False

    def clear(self) -> None:
        """Delete every log."""
        self._folder.delete_all(sorted(self._existing))
        self._existing.clear()

    def with_log_path(self, outcome: Outcome) -> Outcome:
        """A copy of the outcome whose failure names the log that `write` is about to write."""
        if self._failed_to_write or outcome.failure is None or not _text(outcome):
            return outcome
        return outcome.model_copy(update={"failure": outcome.failure.model_copy(update={"log": _path(outcome)})})

    def write(self, outcome: Outcome) -> None:
        """Write what the run printed and where it failed. Called after the journal is written, which matters more.

        The first log that cannot be written is reported, and then no more logs are written.
        """
        path, text = _path(outcome), _text(outcome)
        try:
            if self._failed_to_write:
                return
            if text:
                self._folder.write(path, shortened(text, _MAX_CHARACTERS).encode())
            elif path in self._existing:  # of an earlier attempt, which failed
                self._folder.delete(path)
        except StoreError as error:
            self._failed_to_write = True
            log.warning("no more logs of runs are written: %s", error)


def _path(outcome: Outcome) -> str:
    return f"{LOGS}/{outcome.run.key}.log"


def _text(outcome: Outcome) -> str:
    """Each failed attempt with its traceback, then the output of the processes; empty if there is neither."""
    failures = [*outcome.earlier_failures, *([outcome.failure] if outcome.failure else [])]
    parts = [*map(_describe, (each for each in failures if each.attempt)), outcome.printed]
    return "\n".join(part for part in parts if part)


def _describe(failure: ProcessFailure) -> str:
    where = f" on {failure.host}" if failure.host else ""
    rank = "" if failure.rank is None else f", rank {failure.rank}"
    summary = f"try {failure.attempt}{where}{rank}: {failure.status}, {failure.error_type}: {failure.error_message}\n"
    return summary + (failure.traceback or "")
