"""Read the output of a run's processes. Ray redirects it to files, which also contain the output of C libraries.

A process that was killed cannot report its output, so any process on the host may read the files.
"""

import contextlib
import os
import sys
from pathlib import Path

from workers.records.redact import redact
from workers.records.text import printable

MARK = ":actor_name:"
"""Begins a line that names the run whose output follows. Ray prints that name before each line in the driver's log."""

MOST_BYTES = 64_000
"""Bytes to read from the end of each file at most."""

_UNWRITABLE = contextlib.suppress(OSError, ValueError, AttributeError)
"""A full disk, or a stream that a model's code has closed or replaced, must not fail a run."""


def begin(name: str) -> None:
    """Mark the output from here on as that of the run of this name, which ends with the run's key."""
    for stream in (sys.stdout, sys.stderr):
        with _UNWRITABLE:
            print(f"{MARK}{name}", file=stream, flush=True)


def files() -> tuple[str, ...]:
    """The files that this process's output goes to; fewer than two if a stream does not go to a file."""
    paths = []
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            path = Path(f"/proc/self/fd/{descriptor}").resolve(strict=True)
            if path.is_file():
                paths.append(str(path))
    return tuple(paths)


def printed(paths: tuple[str, ...], key: str) -> str:
    """The output in these files of the run with this key, without secrets; empty if there is none."""
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
    if size > MOST_BYTES:  # half a line may hold half a secret, which `redact` does not recognise
        del lines[0]
    marks = [number for number, line in enumerate(lines) if line.startswith(MARK)]
    if marks and not lines[marks[-1]].rstrip().endswith(key):
        return ""  # the output of another run
    own = lines[marks[-1] + 1 :] if marks else lines
    cut = "" if marks or size <= MOST_BYTES else f"[... {size - MOST_BYTES:,} bytes before this ...]\n"
    return f"--- {path.name}\n{cut}{printable(redact(''.join(own)))}\n" if "".join(own).strip() else ""
