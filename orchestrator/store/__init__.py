"""Results on disk or in a bucket: the journal of finished runs, and the Parquet tables made from it.

out/
  journal/CELL.REPEAT.json   each finished run, written before the next is taken in
  journal-corrupt/           files of the journal that could not be read
  logs/CELL.REPEAT.log       what a run printed, and where it failed
  driver.lock                which driver writes here; in a bucket a folder, with a file for each driver that asks
  raw.parquet                a row per rank and repeat
  results.parquet            a row per cell
"""

from orchestrator.store.folder import Folder, StoreError
from orchestrator.store.journal import Journal
from orchestrator.store.lock import Hold, only_driver
from orchestrator.store.logs import Logs
from orchestrator.store.tables import RAW, RESULTS, not_a_pair, write_tables

__all__ = [
    "RAW", "RESULTS", "Folder", "Hold", "Journal", "Logs", "StoreError", "finished", "not_a_pair", "only_driver",
    "write_tables",
]  # fmt: skip


def finished(out: str, environment: str, *, retry_failed: bool = False) -> set[str]:
    """Keys of the runs that `out` holds already. Changes nothing there, and does not hold the folder."""
    return set(Journal(Folder(out), environment).finished(retry_failed=retry_failed))
