"""Foreign text, fit to keep and to print: valid Unicode, no character that steers a terminal, of bounded length.

Messages of exceptions and names of models come from elsewhere: they may hold what is no UTF-8, escape codes that
recolour or rewrite a terminal, marks that turn the reading order around, and fifty megabytes.
"""

import re
from typing import Annotated

from pydantic import BeforeValidator

MESSAGE_CHARACTERS = 4_000
TRACEBACK_CHARACTERS = 64_000

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but for tab and newline, DEL, C1
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # reading order, and line breaks that only some programs know
    "\ufeff\ud800-\udfff]"  # byte order mark; halves of surrogate pairs, as `os.fsdecode` makes them of stray bytes
)


def printable(text: str) -> str:
    r"""`text` with each control character spelled out, as in `\x1b`; tabs and newlines stay."""
    return _STEERING.sub(_spelled, text)


def one_line(text: str) -> str:
    """`text` in one printable line: line breaks and runs of blanks become one blank each."""
    return printable(" ".join(text.split()))


def shortened(text: str, characters: int) -> str:
    """At most so many characters of `text`: its beginning and its end, and between them how many are left out."""
    if len(text) <= characters:
        return text
    kept = characters - 60  # room for the sentence in between
    head, tail = text[: kept - kept // 3], text[-(kept // 3) :]
    return f"{head} [... {len(text) - kept:,} characters left out ...] {tail}"


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as `surrogateescape` keeps it
        return f"\\x{code - 0xDC00:02x}"
    return ascii(match[0])[1:-1]


def _message(value: object) -> object:
    return shortened(one_line(value), MESSAGE_CHARACTERS) if isinstance(value, str) else value


def _traceback(value: object) -> object:
    return shortened(printable(value), TRACEBACK_CHARACTERS) if isinstance(value, str) else value


Message = Annotated[str, BeforeValidator(_message)]
"""A foreign sentence, in one line of at most `MESSAGE_CHARACTERS`."""

Traceback = Annotated[str, BeforeValidator(_traceback)]
"""Foreign lines, of at most `TRACEBACK_CHARACTERS` together."""
