"""Handles Ctrl-C and SIGTERM: never in the middle of a write, and within seconds everywhere else."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Self


class Interrupted(BaseException):
    """This process was asked to stop. A `BaseException`, so that no `except Exception` catches it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum
        """The exit code after a signal by shell convention: 130 for Ctrl-C, 143 for SIGTERM."""


class Interruptible:
    """While entered, the first signal raises `Interrupted`; inside `held`, it sets `received` and raises at the end.

    A second signal ends the process at once, even if it hangs. Outside the main thread, where Python delivers no
    signals, this does nothing.
    """

    def __init__(self) -> None:
        self._held = False
        self._received: int | None = None
        self._before: dict[int, signal.Handlers | object] = {}

    @property
    def received(self) -> int | None:
        """The signal that asked this process to stop; null if there was none."""
        return self._received

    def __enter__(self) -> Self:
        """Install the signal handlers."""
        self.install()
        return self

    def install(self) -> None:
        """Install the signal handlers; call it again after code that replaces them, such as `ray.init`."""
        if threading.current_thread() is threading.main_thread() and self.received is None:
            for signum in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(signum, self._stop)
                self._before.setdefault(signum, before)

    def __exit__(self, *_: object) -> None:
        """Restore the previous signal handlers."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type] # signal.signal accepts what it returned

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Delay signals until the end of the block. Code in it that waits should check `received`."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._received is not None:
            raise Interrupted(self._received)

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        self._received = signum
        if not self._held:
            raise Interrupted(signum)
