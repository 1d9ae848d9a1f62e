"""Ctrl-C and SIGTERM: never in the middle of a write, always within seconds elsewhere."""

import contextlib
import signal
import threading
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
    """While entered, the first signal raises `Interrupted`; inside `held` it only sets `asked`, and is raised after.

    A second signal ends the process the hard way: whatever hangs, the user has the last word. Outside the main thread
    Python hears no signals, and this does nothing.
    """

    def __init__(self) -> None:
        self._held = False
        self._asked: int | None = None
        self._before: dict[int, signal.Handlers | object] = {}

    @property
    def asked(self) -> int | None:
        """The signal by which somebody has asked this process to stop; null where nobody has."""
        return self._asked

    def __enter__(self) -> Self:
        """Take the signals over."""
        self.take()
        return self

    def take(self) -> None:
        """Take the signals over, again where somebody else has taken them since: `ray.init` does."""
        if threading.current_thread() is threading.main_thread() and self.asked is None:
            for signum in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(signum, self._stop)
                self._before.setdefault(signum, before)

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type] # what signal.signal returned it takes

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back until the block is done; whatever the block waits for, it should look at `asked`."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._asked is not None:
            raise Interrupted(self._asked)

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        self._asked = signum
        if not self._held:
            raise Interrupted(signum)
