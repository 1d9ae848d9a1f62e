"""What `doctor` reports."""

from typing import Literal

from workers.records.base import Record


class Finding(Record):
    """The result of one check."""

    what: str
    """What was checked."""
    level: Literal["ok", "missing", "broken"]
    """`ok`; `missing`: a sweep runs without it and says so; `broken`: a sweep cannot run, or not as its file says."""
    found: str
    """What was found."""
    misses: str | None = None
    """What a sweep would lack."""
    fix: str | None = None
    """How to fix it."""
