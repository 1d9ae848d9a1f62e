"""`doctor` says what works here, what a sweep would lack, and how to fix it."""

import json
import os
import subprocess
import sys

import pytest


def doctor(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "doctor", "--json", *arguments],
        capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"RAY_ADDRESS": "local", "HF_HUB_OFFLINE": "1"} | environment,
    )  # fmt: skip
    return done.returncode, {finding["what"]: finding for finding in json.loads(done.stdout)}


@pytest.mark.slow
def test_a_cpu_machine_can_run_sweeps_and_learns_what_they_lack(tmp_path):
    code, findings = doctor("--out", str(tmp_path / "new" / "folder"), HF_TOKEN="hf_sentinel")
    assert code == 0
    assert findings["torch"]["level"] == findings["Ray"]["level"] == findings["output"]["level"] == "ok"
    assert findings["model hub"]["found"] == "HF_HUB_OFFLINE=1"
    assert all(finding["misses"] for finding in findings.values() if finding["level"] != "ok")
    assert "hf_sentinel" not in json.dumps(findings)


@pytest.mark.slow
def test_an_unreachable_cluster_is_broken_and_gives_exit_code_1():
    code, findings = doctor(RAY_ADDRESS="127.0.0.1:1")
    assert code == 1
    assert findings["Ray"]["level"] == "broken"
    assert "unset RAY_ADDRESS" in findings["Ray"]["fix"]
