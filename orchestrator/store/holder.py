"""Names the process that holds a folder, and identifies its machine."""

import os
import socket
from pathlib import Path


def this_process() -> str:
    """`process 7 on host`."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def this_machine() -> str | None:
    """Identifies this boot of this host and its process namespace (containers have their own); null if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def held_by(out: str, who: str) -> str:
    """The error message for a driver that finds the folder in use."""
    return f"out: {out!r} is being written by {who}; wait until it ends, or give this sweep another `out`"
