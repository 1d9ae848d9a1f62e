"""Which program, packages and commit made a figure, as far as the driver can tell without loading torch."""

import platform
import socket
import subprocess
import time
from importlib import metadata
from pathlib import Path

from orchestrator.config import SweepConfig
from orchestrator.results import SweepInfo
from workers.records import digest

_BEARING = ("joulegrid", "torch", "transformers", "accelerate", "bitsandbytes", "torchao", "calflops", "nvidia-ml-py")
"""Distributions that the figures depend on."""


def versions() -> dict[str, str | None]:
    """Version of each distribution that bears on the figures; null where it is not installed."""
    return {name: _version(name) for name in _BEARING}


def fingerprint() -> str:
    """16 hex digits over what measures. A run that another environment made is measured anew."""
    return digest({"python": platform.python_version(), **versions()})


def sweep_info(sweep: SweepConfig, folder: Path) -> SweepInfo:
    """The sweep and its driver, for every row.

    Args:
        sweep: The sweep.
        folder: Where its file lies; the git commit is that folder's.
    """
    return SweepInfo(
        sweep=sweep.name,
        sweep_hash=sweep.sweep_hash,
        git_commit=_git_commit(folder),
        ray_version=metadata.version("ray"),
        driver_host=socket.gethostname(),
        started_unix_s=time.time(),
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git_commit(folder: Path) -> str | None:
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
