"""One driver per output folder: two drivers that write the same journal would overwrite each other's runs.

On a disk, the kernel releases the lock when the process ends, however it ends (`file_lock.py`). A bucket has no locks,
only objects (`lease.py`).
"""

import contextlib
from collections.abc import Iterator
from typing import Protocol

from orchestrator.store.file_lock import FileLock
from orchestrator.store.folder import Folder
from orchestrator.store.lease import STALE_S, Lease

LOCK = "driver.lock"


class Hold(Protocol):
    """The lock of a folder while a driver holds it."""

    @property
    def lost(self) -> bool:
        """Whether another driver took over the folder; nothing more should be measured then."""

    def check(self) -> None:
        """Raise `StoreError` if another driver took over the folder, or may have."""


@contextlib.contextmanager
def only_driver(folder: Folder, *, renewed_s: float = STALE_S / 8) -> Iterator[Hold]:
    """Lock the folder for this process.

    Args:
        folder: The folder to lock.
        renewed_s: Interval between renewals of a bucket's lock. Unit: s.

    Raises:
        StoreError: Another driver holds the folder; the message names it.
    """
    if folder.root is not None:
        with FileLock(folder.root / LOCK, folder.out) as on_disk:
            yield on_disk
    else:
        with Lease(folder, LOCK, renewed_s) as in_bucket:
            yield in_bucket
