"""Keeps the program running when stdout or stderr cannot be written: a reader that exits, a full disk.

Output that cannot be written is discarded, because a sweep matters for its results and not for its progress lines.
"""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any


class WriteErrors(list[OSError]):
    """The errors of writing to stdout."""

    @property
    def reportable(self) -> OSError | None:
        """The first error worth reporting, which excludes a reader that exits (`| head -1`); null if there is none."""
        return next((error for error in self if error.errno != errno.EPIPE), None)


class _TolerantFile(io.FileIO):
    """A file descriptor that is redirected to `/dev/null` after a write error."""

    def __init__(self, descriptor: int, errors: list[OSError]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._errors = errors

    def write(self, data: Any, /) -> int:
        """Write `data`, or discard it after an error."""
        try:
            written = super().write(data)
        except OSError as error:
            self._errors.append(error)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return len(data)
        if written is None:  # a full non-blocking pipe
            select.select([], [self], [])
            return self.write(data)
        return written


@contextlib.contextmanager
def write_errors_tolerated() -> Iterator[WriteErrors]:
    """While entered, writing to stdout and stderr never fails; yields the errors of stdout so far."""
    _open_closed_streams()
    errors = WriteErrors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _stream(sys.stdout, 1, errors), _stream(sys.stderr, 2, [])
    try:
        yield errors
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _stream(old: Any, descriptor: int, errors: list[OSError]) -> io.TextIOWrapper:
    encoding = getattr(old, "encoding", None) or "utf-8"
    buffered = io.BufferedWriter(_TolerantFile(descriptor, errors))
    by_line, through = getattr(old, "line_buffering", True), getattr(old, "write_through", False)
    # backslashreplace: file names may contain bytes that no encoding can print.
    return io.TextIOWrapper(buffered, encoding, "backslashreplace", line_buffering=by_line, write_through=through)


def _open_closed_streams() -> None:
    """Open closed standard streams (`>&-`), or the next opened file would get their descriptor."""
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is `descriptor`
