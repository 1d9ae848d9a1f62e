"""`python -m orchestrator sweep.yaml` from end to end: real models, a real Ray, real Parquet, real faults."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

SWEEP = """
name: path
models:
  - name: tiny-llama
    config: &llama {model_type: llama, vocab_size: 256, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2,
                    num_attention_heads: 2, num_key_value_heads: 2}
  - no-such-folder/no-such-model
  - name: tiny-gpt2
    config: {model_type: gpt2, vocab_size: 256, n_embd: 32, n_layer: 2, n_head: 2, n_positions: 128}
precisions: [fp32, bf16]
axes: {input_tokens: 8, output_tokens: 4}
device: cpu
window: {max_s: 0.3}
repeats: 2
out: out
"""

SLOW_CELL = """
name: killed
models:
  - name: tiny-llama
    config: {model_type: llama, vocab_size: 256, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2,
             num_attention_heads: 2, num_key_value_heads: 2}
precisions: [fp32]
axes: {output_tokens: [4, 5, 6, 7, 8, 9, 10, 11, 12, 13], input_tokens: 8}
device: cpu
window: {relative_uncertainty: 1.0e-9, max_s: 1, max_generations: 100000}
max_attempts: 1
out: out
"""


NOTES_IMPORTS = """
import os, sys

def note(event, details):
    if event == "import" and details[0].partition(".")[0] in ("orchestrator", "workers"):
        with open(os.environ["NOTED_IMPORTS"], "a") as file:
            file.write(f"{os.getpid()} {details[0]}\\n")

sys.addaudithook(note)
"""
"""A `sitecustomize` that writes down what every process of a sweep imports of this project."""


def start(folder: Path, sweep: str, *words: str, **env: str) -> subprocess.Popen:
    (folder / "sweep.yaml").write_text(sweep)
    environment = os.environ | {"RAY_ADDRESS": "local", "HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"} | env
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "sweep.yaml", *words],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One sweep with a model that does not exist in its middle; its folder, exit code and output."""
    folder = tmp_path_factory.mktemp("path")
    (folder / "sitecustomize.py").write_text(NOTES_IMPORTS)
    paths = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    driver = start(folder, SWEEP, PYTHONPATH=paths, NOTED_IMPORTS=str(folder / "imports"))
    output, _ = driver.communicate(timeout=240)
    return folder, driver.returncode, output


def test_a_model_that_does_not_exist_becomes_rows_and_the_others_are_measured(finished):
    folder, code, output = finished
    results = pd.read_parquet(folder / "out" / "results.parquet")
    assert code == 1, output
    assert list(results.status) == ["ok", "ok", "failed", "failed", "ok", "ok"], output
    bad = results[results.model == "no-such-folder/no-such-model"]
    assert bad.error_type.notna().all()
    assert bad.error_message.str.contains("no-such-folder/no-such-model").all()
    assert "4 of 6 cells ok" in output


def test_every_figure_has_its_method_or_reason(finished):
    folder, _, _ = finished
    good = pd.read_parquet(folder / "out" / "results.parquet").query("status == 'ok'")
    assert (good.flops_value > 0).all()
    assert (
        good[["flops_method", "flops_confidence", "flops_notes", "memory_method", "timing_method"]].notna().all().all()
    )
    assert good.gpu_energy_j.isna().all()
    assert (good.energy_method.astype(str) == "none").all()
    assert good.energy_reasons.map(len).gt(0).all()
    assert (good.output_tokens_per_s_over_repeats_n == 2).all()


def test_counts_are_exact(finished):
    folder, _, _ = finished
    raw = pd.read_parquet(folder / "out" / "raw.parquet").query("status == 'ok'")
    assert len(raw) == 4 * 2
    assert (raw.generated_tokens == raw.generations * 4).all()
    assert (raw.prompt_tokens == raw.generations * 8).all()
    assert raw.itl_s.map(lambda itl: {len(steps) for steps in itl}).map(lambda sizes: sizes == {3}).all()


def test_one_process_measures_all_cells_in_rounds(finished):
    folder, _, _ = finished
    raw = pd.read_parquet(folder / "out" / "raw.parquet").query("status == 'ok'")
    assert raw.pid.nunique() == 1
    assert sorted(raw.prior_runs) == list(range(8))  # the missing model never reached it
    assert raw.sort_values("window_start_unix_s").repeat.tolist() == [0] * 4 + [1] * 4


def test_a_process_that_measures_never_imports_the_driver(finished):
    folder, _, _ = finished
    raw = pd.read_parquet(folder / "out" / "raw.parquet").query("status == 'ok'")
    noted = [line.split() for line in (folder / "imports").read_text().splitlines()]
    imported = {name for pid, name in noted if int(pid) in set(raw.pid)}
    assert {"workers.actor", "workers.measure", "workers.engines.transformers"} <= imported
    assert not {name for name in imported if name.partition(".")[0] == "orchestrator"}


@pytest.mark.slow
def test_the_same_command_continues_where_it_stopped(finished):
    folder, _, _ = finished
    before = pq.read_table(folder / "out" / "raw.parquet").column("window_start_unix_s").to_pylist()
    output, _ = start(folder, SWEEP).communicate(timeout=240)
    assert "12 of 12 runs are done already" in output
    assert pq.read_table(folder / "out" / "raw.parquet").column("window_start_unix_s").to_pylist() == before


@pytest.mark.slow
def test_a_killed_worker_becomes_a_row_and_the_others_are_measured(tmp_path):
    driver = start(tmp_path, SLOW_CELL)
    journal = tmp_path / "out" / "journal"
    while not list(journal.glob("*.json")):
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.1)
    first = json.loads(next(journal.glob("*.json")).read_text())
    os.kill(first["outcome"]["results"][0]["pid"], signal.SIGKILL)
    output, _ = driver.communicate(timeout=240)
    results = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert driver.returncode == 1, output
    assert sorted(results.status.astype(str)) == ["lost", *["ok"] * 9], output  # whichever run it was measuring
    assert results.query("status == 'lost'").error_type.notna().all()


def test_a_misspelt_key_is_one_error_and_exit_2(tmp_path):
    driver = start(tmp_path, SWEEP.replace("repeats:", "repeat:"))
    output, _ = driver.communicate(timeout=240)
    assert driver.returncode == 2
    assert "repeat" in output
    assert "did you mean 'repeats'?" in output
    assert "Traceback" not in output


def test_the_driver_never_loads_torch(tmp_path):
    heavy = "torch", "transformers", "pynvml", "calflops"
    program = (
        "import sys, importlib, pkgutil, orchestrator\n"
        "for module in pkgutil.walk_packages(orchestrator.__path__, 'orchestrator.'):\n"
        "    counts = module.name.startswith('orchestrator.costs.counting.')\n"
        "    if not counts and module.name != 'orchestrator.__main__': importlib.import_module(module.name)\n"
        f"print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.strip() == "[]"
