"""The examples: each can be planned, and those that need no GPU, hub or bucket are run."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from orchestrator.commands import plan

EXAMPLES = Path(__file__).parents[1] / "examples"
SWEEPS = sorted(EXAMPLES.glob("*.yaml"))
HERE = [file for file in SWEEPS if yaml.safe_load(file.read_text(encoding="utf-8")).get("device") == "cpu"]


def run(folder, *command):
    environment = os.environ | {"RAY_ADDRESS": "local", "HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda file: file.stem)
def test_a_plan_names_every_cell(sweep, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # The bucket of an example that writes to one is nobody's: that it cannot be reached is a line, not an end.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert plan.main([str(sweep)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{sweep.stem}: ")
    assert said.count("to do") > 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sweep", [file for file in HERE if file.stem != "quickstart"], ids=lambda file: file.stem)
def test_a_sweep_of_the_cpu_ends_with_every_cell_ok(sweep, tmp_path):  # the quick start: tests/test_docs.py
    output = run(tmp_path, "-m", "orchestrator", str(sweep))
    results = pd.read_parquet(tmp_path / "results" / sweep.stem / "results.parquet")
    assert (results.status == "ok").all(), output
    assert (results.output_tokens_per_s > 0).all()
    assert f"{len(results)} of {len(results)} cells ok" in output


@pytest.mark.slow
def test_the_python_api_runs_a_sweep_and_reads_it_again(tmp_path):
    output = run(tmp_path, str(EXAMPLES / "api.py"))
    assert "tiny-llama fp32: " in output
    assert "confidence high" in output
    assert output.splitlines()[-1].startswith("2 cells, 6 runs in ")
