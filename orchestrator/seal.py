"""A checksum of a whole Parquet file, kept inside it: a flipped bit or a lost byte is seen wherever the file is copied.

Parquet's own checksums cover pages; a flipped bit in the footer can still change a column's values unseen. The seal
stands before the footer. Readers follow the footer's offsets and never see it; a file that another program writes has
none.
"""

import hashlib
from typing import Any

_MARK = b"joulegrid sha256 "
_BLANK = b"0" * 64
"""What stands in the digest's place while it is computed."""
_TAIL_BYTES = 8
"""A Parquet file ends with its footer's length (four bytes) and `PAR1`."""


class SealError(ValueError):
    """The file is not what was written."""


class SealedFile:
    """A binary file that is being written, with a seal: `place` it before the footer, `fill` it when all is written.

    Args:
        file: Where the bytes go; has to be able to seek.
    """

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._place = 0

    def write(self, data: Any) -> int:
        """Write bytes."""
        self._digest.update(data)
        self._file.write(data)
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Hand on what is buffered."""
        self._file.flush()

    def close(self) -> None:
        """Leave the file open: `fill` comes after its Parquet writer has closed."""

    def place(self) -> None:
        """Put the seal here, its digest blank as yet."""
        self._place = self._file.tell() + len(_MARK)
        self.write(_MARK + _BLANK)

    def fill(self) -> None:
        """Put the digest of all that was written into its place."""
        self._file.seek(self._place)
        self._file.write(self._digest.hexdigest().encode())


def check(data: memoryview) -> None:
    """Hold a whole Parquet file against its seal, where it has one.

    Raises:
        SealError: It is not what was written.
    """
    footer = len(data) - _TAIL_BYTES - int.from_bytes(data[-_TAIL_BYTES:-4], "little")
    start = footer - len(_MARK) - len(_BLANK)
    if start < 0 or data[start : start + len(_MARK)] != _MARK:
        if _MARK in bytes(data):
            raise SealError("it is damaged: its checksum does not stand where it was written")
        return
    digest = hashlib.sha256(data[: start + len(_MARK)])
    digest.update(_BLANK)
    digest.update(data[footer:])
    if digest.hexdigest().encode() != data[footer - len(_BLANK) : footer]:
        raise SealError("it is damaged: its contents do not match the checksum that was written with them")
