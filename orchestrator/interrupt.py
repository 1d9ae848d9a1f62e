"""Ctrl-C and SIGTERM: never in the middle of a write, always within seconds elsewhere."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Self


class Interrupted(BaseException):
    """Somebody asked this process to stop. Not an `Exception`: no handler of those may swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum
        """What a shell expects of a program that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""


class Interruptible:
    """While entered, the first signal raises `Interrupted`, held back while something is being written.

    A second signal ends the process the hard way: whatever hangs, the user has the last word.
    """

    def __init__(self) -> None:
        self._writing = False
        self._asked: int | None = None
        self._before: dict[int, signal.Handlers | object] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._before[signum] = signal.signal(signum, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type] # what signal.signal returned it takes

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold signals back until the block is done."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False
        if self._asked is not None:
            raise Interrupted(self._asked)

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        self._asked = signum
        if not self._writing:
            raise Interrupted(signum)
