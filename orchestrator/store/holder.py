"""Who holds a folder, in words, and how a machine is known."""

import os
import socket
from pathlib import Path


def this_process() -> str:
    """`process 7 on host`."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def this_machine() -> str | None:
    """This boot of this host, and its table of processes: containers have their own. Null where neither is known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def held_by(out: str, who: str) -> str:
    """The error of whoever comes second."""
    return f"out: {out!r} is being written by {who}; wait for it, or give this sweep an `out` of its own"
