"""Two hosts: network namespaces joined by a cable, each with its address and raylet; then the cable is cut."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.processes import until
from tests.support.sweeps import lines, settings

HEAD, OTHER = "jg-head", "jg-other"
ADDRESS = {HEAD: "10.213.7.1", OTHER: "10.213.7.2"}
CABLE = {HEAD: "jg-cable-a", OTHER: "jg-cable-b"}
PORT = 46379


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def why_skipped() -> str | None:
    """Why network namespaces do not work here. In CI, as root, they must work: then nothing is skipped."""
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        return None
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    probe = subprocess.run(["ip", "netns", "add", "jg-probe"], check=False, capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", "jg-probe"], check=False, capture_output=True)
    return f"no network namespaces here: {probe.stderr.strip()}" if probe.returncode else None


REASON = why_skipped()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=REASON or "")]


class Hosts:
    """Both hosts, with 2 simulated GPUs each; drivers run on the head."""

    def __init__(self, folder: Path) -> None:
        # Ray keeps the machine's default cluster in one folder; these hosts must not become it.
        self.env = os.environ | {
            "RAY_TMPDIR": str(folder),
            "RAY_AUTH_MODE": "disabled",
            "RAY_ADDRESS": f"{ADDRESS[HEAD]}:{PORT}",
            "OMP_NUM_THREADS": "1",
            "RAY_health_check_initial_delay_ms": "0",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
        }
        self.folder = folder

    def start(self) -> None:
        for host in (HEAD, OTHER):
            ip("netns", "add", host)
        ip("link", "add", CABLE[HEAD], "netns", HEAD, "type", "veth", "peer", CABLE[OTHER], "netns", OTHER)
        for host in (HEAD, OTHER):
            ip("-n", host, "addr", "add", f"{ADDRESS[host]}/24", "dev", CABLE[host])
            for device in ("lo", CABLE[host]):
                ip("-n", host, "link", "set", device, "up")
        self._ray(HEAD, "--head", f"--port={PORT}", "--include-dashboard=false")
        self._ray(OTHER, f"--address={ADDRESS[HEAD]}:{PORT}")

    def cut(self) -> None:
        ip("-n", OTHER, "link", "set", CABLE[OTHER], "down")

    def stop(self) -> None:
        for host in (HEAD, OTHER):
            pids = subprocess.run(["ip", "netns", "pids", host], check=False, capture_output=True, text=True).stdout
            for pid in map(int, pids.split()):
                os.kill(pid, signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", host], check=False, capture_output=True)

    def driver(self, folder: Path, sweep: dict[str, Any]) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        (folder / "sweep.yaml").write_text(json.dumps(sweep))
        return self._popen(HEAD, [sys.executable, "-m", "orchestrator", "sweep.yaml"], cwd=folder)

    def _ray(self, host: str, *words: str) -> None:
        resources = ["--num-cpus=4", "--num-gpus=2", f"--object-store-memory={100 * 2**20}", "--disable-usage-stats"]
        command = [
            str(Path(sys.executable).parent / "ray"),
            "start",
            *words,
            f"--node-ip-address={ADDRESS[host]}",
            *resources,
        ]
        started = self._popen(host, command)
        output = started.communicate(timeout=240)[0]
        assert started.returncode == 0, output

    def _popen(self, host: str, command: list[str], **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["ip", "netns", "exec", host, *command],
            env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more,
        )  # fmt: skip


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    # A short path: it is part of the sockets' names, whose length is limited.
    folder = Path("/tmp/jg-two-hosts")
    shutil.rmtree(folder, ignore_errors=True)
    hosts = Hosts(folder)
    hosts.stop()  # a killed test may have left some
    try:
        hosts.start()
        yield hosts
    finally:
        hosts.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_gang_spreads_over_both_hosts_where_it_may(hosts: Hosts, tmp_path: Path) -> None:
    log = tmp_path / "log"
    placement = {"strategy": "PACK", "gpus_per_process": 1}
    gang = settings(
        [{"log": str(log)}], out="out", device="cpu", placement=placement, axes={"processes": 4, "batch_size": 4}
    )
    driver = hosts.driver(tmp_path, gang)
    output = driver.communicate(timeout=240)[0]
    assert driver.returncode == 0, output
    assert len({node for _, _, _, node in lines(log)}) == 2
    assert sorted(rank for _, rank, _, _ in lines(log)) == ["0", "1", "2", "3"]


def test_a_sweep_ends_correctly_when_one_host_is_cut_off_in_the_middle(hosts: Hosts, tmp_path: Path) -> None:
    log = tmp_path / "log"
    go_on = tmp_path / "go-on"
    acts = [{"log": str(log), "wait_for": str(go_on)} for _ in range(12)]
    driver = hosts.driver(tmp_path, settings(acts, out="out", device="cpu", placement={"gpus_per_process": 1}))
    until(lambda: len({node for *_, node in lines(log)}) == 2 and len(lines(log)) == 4, within_s=240)
    hosts.cut()
    go_on.touch()  # the cut-off host finishes its two runs, too, but cannot deliver them
    output = driver.communicate(timeout=240)[0]
    assert driver.returncode == 0, output
    rows = pd.read_parquet(tmp_path / "out" / "raw.parquet")
    assert rows.query("status == 'ok'").cell_id.is_unique
    assert len(rows.query("status == 'ok'")) == 12
    lost = rows.query("status == 'lost'")
    assert sorted(lost.attempt) == [1, 1]
    assert set(lost.cell_id) <= set(rows.query("status == 'ok' and attempt == 2").cell_id)
