"""The versions and the git commit behind the results, found without importing torch."""

import platform
import socket
import subprocess
import time
from importlib import metadata
from pathlib import Path

from orchestrator.config import SweepConfig
from orchestrator.results.rows import SweepInfo
from workers.records import digest

_RELEVANT = ("joulegrid", "torch", "transformers", "accelerate", "bitsandbytes", "torchao", "calflops", "nvidia-ml-py")
"""Distributions that the figures depend on."""


def versions() -> dict[str, str | None]:
    """Version of each distribution that the figures depend on; null if it is not installed."""
    return {name: _version(name) for name in _RELEVANT}


def fingerprint() -> str:
    """A hash (16 hex digits) of the installed versions. Runs of another environment are measured again."""
    return digest({"python": platform.python_version(), **versions()})


def sweep_info(sweep: SweepConfig, folder: Path) -> SweepInfo:
    """The columns of every row that describe the sweep and its driver.

    Args:
        sweep: The sweep.
        folder: The folder of the sweep file, whose git commit is recorded.
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


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        process = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()
