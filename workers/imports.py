"""Importing what is heavy."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage in this block, and never look again at what was imported in it.

    Nothing that torch and transformers define is garbage, and looking through it all takes a sixth of the import's
    time, and some of each collection afterwards.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
