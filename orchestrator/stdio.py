"""stdout and stderr that may end before the program does: a reader that has seen enough, a disk that is full.

What cannot be written is lost, and the program goes on. A sweep is about its results, not about its progress lines.
"""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any


class Refusals(list[OSError]):
    """Why stdout could not be written, where it could not."""

    @property
    def loss(self) -> OSError | None:
        """The first refusal that somebody should know of; a reader who left (`| head -1`) knows."""
        return next((error for error in self if error.errno != errno.EPIPE), None)


class _Outlived(io.FileIO):
    """A descriptor that goes to `/dev/null` when it refuses to be written."""

    def __init__(self, descriptor: int, refusals: list[OSError]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._refusals = refusals

    def write(self, data: Any, /) -> int:
        """Write, or lose what cannot be written."""
        try:
            written = super().write(data)
        except OSError as error:
            self._refusals.append(error)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)
        if written is None:  # a pipe that is full, and does not block
            select.select([], [self], [])
            return self.write(data)
        return written


@contextlib.contextmanager
def outlived() -> Iterator[Refusals]:
    """While entered, stdout and stderr take whatever is printed; yields what stdout has refused so far."""
    _fill_gaps()
    refusals = Refusals()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _stream(sys.stdout, 1, refusals), _stream(sys.stderr, 2, [])
    try:
        yield refusals
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _stream(old: Any, descriptor: int, refusals: list[OSError]) -> io.TextIOWrapper:
    encoding = getattr(old, "encoding", None) or "utf-8"
    buffered = io.BufferedWriter(_Outlived(descriptor, refusals))
    by_line, through = getattr(old, "line_buffering", True), getattr(old, "write_through", False)
    # A file's name need not be text in any encoding: it is shown with escapes rather than not at all.
    return io.TextIOWrapper(buffered, encoding, "backslashreplace", line_buffering=by_line, write_through=through)


def _fill_gaps() -> None:
    """Open what is closed (`>&-`), or the next file that is opened would be taken for it."""
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
