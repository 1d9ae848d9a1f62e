"""`ray start --head`, then `ray job submit`: the results outlive the working directory, which Ray deletes."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

PROJECT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def head(tmp_path):
    """A head node with its own home folder: the dashboard's address, the home, and the environment."""
    home = tmp_path / "home"
    home.mkdir()
    dashboard, tools = free_port(), Path(sys.executable).parent
    environment = os.environ | {
        "HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}", "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }  # fmt: skip
    environment.pop("RAY_ADDRESS", None)
    # A short path: it is part of the sockets' names, whose length is limited.
    session = Path("/tmp") / f"jg{os.getpid()}"
    ray = subprocess.Popen(
        [tools / "ray", "start", "--head", "--block", f"--port={free_port()}", f"--dashboard-port={dashboard}",
         # By default every agent uses the same port, which the test session's own cluster has taken.
         f"--dashboard-agent-listen-port={free_port()}",
         f"--temp-dir={session}", "--num-cpus=2", "--object-store-memory=100000000", "--disable-usage-stats"],
        env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    try:
        wait_for(address)
        yield address, home, environment
    finally:
        os.killpg(ray.pid, signal.SIGTERM)
        ray.wait(timeout=60)
        shutil.rmtree(session, ignore_errors=True)


def wait_for(address: str) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(address)


def submit(address: str, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Submit a job and wait for it; try again while the head's agent is not up, as Ray's message says."""
    command = [Path(sys.executable).parent / "ray", "job", "submit", f"--address={address}", "--working-dir=.", "--"]
    for _ in range(30):
        job = subprocess.run(
            [*command, *words], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=280, check=False
        )
        if "No available agent" not in job.stderr:
            return job
        time.sleep(2)
    raise TimeoutError(job.stderr)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_jobs_results_are_in_a_durable_folder_that_its_log_names(head):
    address, home, environment = head
    job = submit(address, environment, "python", "-m", "orchestrator", "examples/quickstart.yaml")
    output = job.stdout + job.stderr
    assert job.returncode == 0, output
    named = re.search(r"results: (\S+)", output)
    assert named, output
    assert named[1] == str(home / "joulegrid" / "results" / "quickstart")
    results = pd.read_parquet(Path(named[1]) / "results.parquet")
    assert len(results) >= 12
    assert set(results.status) == {"ok"}
