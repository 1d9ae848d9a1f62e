"""Pause garbage collection while heavy libraries are imported."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Collect no garbage in this block, and exclude the objects made in it from later collections.

    Nothing that torch and transformers define is garbage. Scanning it all takes a sixth of the import's time, and some
    time of each later collection.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
