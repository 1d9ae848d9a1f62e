"""Silence two warnings of libraries that do not concern a measurement and would repeat in each process."""

import logging
from functools import partial

_SILENCED = {
    "torchao": "Failed to load ",  # kernels for other versions of Python, and for other cards
    "torch.utils._pytree": "%s is an Enum subclass and is now natively supported",  # caused by torchao
}
"""Logger -> beginning of the message, before its arguments are filled in."""


def silence_known_warnings() -> None:
    """Drop exactly these messages in this process; other messages of the two loggers still appear."""
    for name, beginning in _SILENCED.items():
        logging.getLogger(name).addFilter(partial(_is_other, beginning))


def _is_other(beginning: str, record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(beginning)
