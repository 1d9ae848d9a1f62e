"""Make foreign text safe to store and print: valid Unicode, no control characters, limited length.

Messages of exceptions and names of models come from outside. They may hold invalid UTF-8, escape codes that recolour or
rewrite a terminal, marks that reverse the reading order, and fifty megabytes.
"""

import re
from typing import Annotated

from pydantic import BeforeValidator

MESSAGE_CHARACTERS = 4_000
TRACEBACK_CHARACTERS = 64_000

_CONTROL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 except tab and newline, DEL, C1
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # reading order, and line breaks that only some programs know
    "\ufeff\ud800-\udfff]"  # byte order mark; halves of surrogate pairs, which `os.fsdecode` makes of invalid bytes
)


def printable(text: str) -> str:
    r"""`text` with each control character escaped, as in `\x1b`; tabs and newlines stay."""
    return _CONTROL_CHARACTERS.sub(_escaped, text)


def one_line(text: str) -> str:
    """`text` in one printable line: line breaks and runs of blanks become one blank each."""
    return printable(" ".join(text.split()))


def shortened(text: str, characters: int) -> str:
    """`text` in at most so many characters: beyond that, its beginning, how many are left out, and its end."""
    if len(text) <= characters:
        return text
    kept = characters - 60  # the sentence in between is shorter than 60
    head, tail = text[: kept - kept // 3], text[-(kept // 3) :]
    return f"{head} [... {len(text) - kept:,} characters left out ...] {tail}"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # an invalid byte, as `surrogateescape` decodes it
        return f"\\x{code - 0xDC00:02x}"
    return ascii(match[0])[1:-1]


def _message(value: object) -> object:
    return shortened(one_line(value), MESSAGE_CHARACTERS) if isinstance(value, str) else value


def _traceback(value: object) -> object:
    return shortened(printable(value), TRACEBACK_CHARACTERS) if isinstance(value, str) else value


Message = Annotated[str, BeforeValidator(_message)]
"""Foreign text in one line of at most `MESSAGE_CHARACTERS`."""

Traceback = Annotated[str, BeforeValidator(_traceback)]
"""Foreign text of several lines, at most `TRACEBACK_CHARACTERS` long."""
