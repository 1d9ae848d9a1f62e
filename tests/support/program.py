"""The program as a process that tests start and kill."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

SECRET = "sentinel-5ecret-of-the-workers"
"""HF_TOKEN of the workers on the drills' cluster."""


class Driver:
    """The program in its own process, on the cluster at `address`."""

    def __init__(
        self,
        folder: Path,
        sweep: dict[str, Any],
        *words: str,
        address: str = "local",
        stdout: IO[str] | int = subprocess.PIPE,
        **env: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sweep.yaml").write_text(json.dumps(sweep))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "sweep.yaml", *words],
            cwd=folder, stdout=stdout, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env=os.environ | {"RAY_ADDRESS": address, "OMP_NUM_THREADS": "1"} | env,
        )  # fmt: skip
        self.output = ""

    def ended(self, timeout_s: float = 240.0) -> int:
        """Wait for its end; returns its exit code. `output` then holds what it printed."""
        self.output = self.process.communicate(timeout=timeout_s)[0]
        return self.process.returncode

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.process.pid, signum)
