"""Storage of results, on disk or in a bucket: the journal of finished runs, and the Parquet tables made from it.

out/
  journal/CELL.REPEAT.json   each finished run, written before the next one is accepted
  journal-corrupt/           journal files that could not be read
  logs/CELL.REPEAT.log       what a run printed, and the traceback if it failed
  driver.lock                the driver that writes here; in a bucket, a folder with a claim of each driver
  raw.parquet                one row per rank and repeat
  results.parquet            one row per cell
"""

from orchestrator.store.folder import Folder, StoreError
from orchestrator.store.journal import Journal
from orchestrator.store.lock import Hold, only_driver
from orchestrator.store.logs import Logs

__all__ = ["Folder", "Hold", "Journal", "Logs", "StoreError", "finished", "only_driver"]


def finished(out: str, environment: str, *, retry_failed: bool = False) -> set[str]:
    """Keys of the finished runs in `out`. Changes nothing there, and takes no lock."""
    return set(Journal(Folder(out), environment).finished(retry_failed=retry_failed))
