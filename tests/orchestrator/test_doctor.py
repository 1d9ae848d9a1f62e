"""`doctor` says what works here, what a sweep would miss, and how to mend it."""

import json
import os
import subprocess
import sys

import pytest


def doctor(*words, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "doctor", "--json", *words],
        capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"RAY_ADDRESS": "local", "HF_HUB_OFFLINE": "1"} | environment,
    )  # fmt: skip
    return done.returncode, {finding["what"]: finding for finding in json.loads(done.stdout)}


@pytest.mark.slow
def test_a_cpu_machine_can_run_sweeps_and_is_told_what_they_miss(tmp_path):
    code, found = doctor("--out", str(tmp_path / "new" / "folder"), HF_TOKEN="hf_sentinel")
    assert code == 0
    assert found["torch"]["level"] == found["Ray"]["level"] == found["output"]["level"] == "ok"
    assert found["model hub"]["found"] == "HF_HUB_OFFLINE=1"
    assert all(finding["misses"] for finding in found.values() if finding["level"] != "ok")
    assert "hf_sentinel" not in json.dumps(found)


def test_a_cluster_that_does_not_answer_is_broken_and_exit_1():
    code, found = doctor(RAY_ADDRESS="127.0.0.1:1")
    assert code == 1
    assert found["Ray"]["level"] == "broken"
    assert "unset RAY_ADDRESS" in found["Ray"]["mend"]
