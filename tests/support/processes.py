"""Waiting for other processes, and a clock that can be put forward."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HANGS_AFTER_S = 240.0
"""A test that waits longer has failed; no test depends on the machine's speed. Unit: s."""


class AheadClock:
    """Replaces `time` in the driver's modules; tests put its clock forward instead of waiting."""

    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.by_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.by_s


def until(condition: Callable[[], Any], *, within_s: float = HANGS_AFTER_S) -> None:
    """Wait until other processes make `condition` true."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"still not true after {within_s:g} s"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether the process has ended; a zombie has, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
