"""One driver per output folder: two that write the same journal would take each other's runs for their own.

On a disk the kernel keeps the lock, and lets go when the process ends, however it ends (`file_lock.py`). A bucket has
no locks, only objects (`lease.py`).
"""

import contextlib
from collections.abc import Iterator
from typing import Protocol

from orchestrator.store.file_lock import FileLock
from orchestrator.store.folder import Folder
from orchestrator.store.lease import STALE_S, Lease

LOCK = "driver.lock"


class Hold(Protocol):
    """What a driver has while it holds a folder."""

    @property
    def lost(self) -> bool:
        """Whether another driver has taken the folder over: nothing further should be measured."""

    def check(self) -> None:
        """Raise `StoreError` where another driver has taken the folder over, or may have."""


@contextlib.contextmanager
def only_driver(folder: Folder, *, renewed_s: float = STALE_S / 8) -> Iterator[Hold]:
    """Hold the folder for this process.

    Args:
        folder: What to hold.
        renewed_s: How often a bucket's lock is renewed. Unit: s.

    Raises:
        StoreError: Another driver holds it; the message says which.
    """
    if folder.root is not None:
        with FileLock(folder.root / LOCK, folder.out) as on_disk:
            yield on_disk
    else:
        with Lease(folder, LOCK, renewed_s) as in_bucket:
            yield in_bucket
