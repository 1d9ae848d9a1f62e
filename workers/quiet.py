"""Two warnings of libraries that say nothing about a measurement, and would stand once per process in a job's log."""

import logging
from functools import partial

_SAID = {
    "torchao": "Failed to load ",  # its kernels for other Pythons, and for cards that are not here
    "torch.utils._pytree": "%s is an Enum subclass and is now natively supported",  # torchao's way of registering types
}
"""Logger -> how the message begins, before its arguments are filled in."""


def hush() -> None:
    """Drop exactly these messages in this process; whatever else the two loggers say still goes through."""
    for name, beginning in _SAID.items():
        logging.getLogger(name).addFilter(partial(_is_other, beginning))


def _is_other(beginning: str, record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(beginning)
