"""A checksum of a whole Parquet file, stored inside it, so that damage is detected wherever the file is copied.

Parquet's own checksums cover only pages: a flipped bit in the footer can change a column's values unnoticed. The seal
is stored before the footer. Other readers follow the footer's offsets and ignore it; files of other programs have no
seal.
"""

import hashlib
from typing import Any

from workers.records.errors import JouleGridError

_MARK = b"joulegrid sha256 "
_BLANK = b"0" * 64
"""Placeholder for the digest while it is computed."""
_TAIL_BYTES = 8
"""A Parquet file ends with its footer's length (four bytes) and `PAR1`."""


class SealError(JouleGridError, ValueError):
    """The file is damaged."""


class SealedFile:
    """A binary file with a seal: call `reserve` before the footer is written, and `fill` when everything is written.

    Args:
        file: A seekable file for the bytes.
    """

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._digest_at = 0

    def write(self, data: Any) -> int:
        """Write bytes."""
        self._digest.update(data)
        self._file.write(data)
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Flush the underlying file."""
        self._file.flush()

    def close(self) -> None:
        """Do nothing: the file stays open for `fill`, which is called after the Parquet writer closes it."""

    def reserve(self) -> None:
        """Write the seal here, with a blank digest."""
        self._digest_at = self._file.tell() + len(_MARK)
        self.write(_MARK + _BLANK)

    def fill(self) -> None:
        """Write the digest of everything into the reserved space."""
        self._file.seek(self._digest_at)
        self._file.write(self._digest.hexdigest().encode())


def check(data: memoryview) -> None:
    """Verify the seal of a whole Parquet file, if it has one.

    Raises:
        SealError: The contents do not match the seal.
    """
    footer = len(data) - _TAIL_BYTES - int.from_bytes(data[-_TAIL_BYTES:-4], "little")
    start = footer - len(_MARK) - len(_BLANK)
    if start < 0 or data[start : start + len(_MARK)] != _MARK:
        if _MARK in bytes(data):
            raise SealError("it is damaged: its checksum is not where it was written")
        return
    digest = hashlib.sha256(data[: start + len(_MARK)])
    digest.update(_BLANK)
    digest.update(data[footer:])
    if digest.hexdigest().encode() != data[footer - len(_BLANK) : footer]:
        raise SealError("it is damaged: its contents do not match its checksum")
