"""What the processes of a run printed. Ray sends their output to files, which also hold what C libraries write.

A process that is killed cannot tell what it printed, so whoever has the files may read them.
"""

import contextlib
import os
import sys
from pathlib import Path

from workers.records.text import printable
from workers.redact import redact

MARK = ":actor_name:"
"""Begins a line that names the run whose output follows. Ray writes that name before each line in the driver's log."""

MOST_BYTES = 64_000
"""Read of each file at most: the end, where the error stands."""

_UNWRITABLE = contextlib.suppress(OSError, ValueError, AttributeError)
"""A full disk; a stream that a model's code has closed or replaced. No run is lost for what it printed."""


def begin(name: str) -> None:
    """Mark both streams as the output of the run of this name from here on; the name ends with the run's key."""
    for stream in (sys.stdout, sys.stderr):
        with _UNWRITABLE:
            print(f"{MARK}{name}", file=stream, flush=True)


def files() -> tuple[str, ...]:
    """The files that this process's output goes to; fewer than two where it goes elsewhere."""
    paths = []
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            path = Path(f"/proc/self/fd/{descriptor}").resolve(strict=True)
            if path.is_file():
                paths.append(str(path))
    return tuple(paths)


def printed(paths: tuple[str, ...], key: str) -> str:
    """What stands in these files of the run with this key, without secrets; empty where there is nothing."""
    for stream in (sys.stdout, sys.stderr):
        with _UNWRITABLE:
            stream.flush()
    return "".join(_part(Path(path), key) for path in paths)


def _part(path: Path, key: str) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MOST_BYTES))
            text = file.read(MOST_BYTES).decode(errors="backslashreplace")
    except OSError:
        return ""
    lines = text.splitlines(keepends=True)
    if size > MOST_BYTES:  # half a line may hold half a secret, which nothing recognises
        del lines[0]
    marks = [number for number, line in enumerate(lines) if line.startswith(MARK)]
    if marks and not lines[marks[-1]].rstrip().endswith(key):
        return ""  # another run's
    own = lines[marks[-1] + 1 :] if marks else lines
    cut = "" if marks or size <= MOST_BYTES else f"[... {size - MOST_BYTES:,} bytes before this ...]\n"
    return f"--- {path.name}\n{cut}{printable(redact(''.join(own)))}\n" if "".join(own).strip() else ""
