"""`plan`: what becomes of every cell, without starting anything."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import config, plan, plan_command, provenance, store
from workers.records import Outcome, ProcessFailure, Run

LLAMA = (
    "{model_type: llama, vocab_size: 128256, hidden_size: 8192, intermediate_size: 28672, num_hidden_layers: 80, "
    "num_attention_heads: 64, num_key_value_heads: 8}"
)
SWEEP = f"""
name: try
models:
  - {{name: large, config: {LLAMA}}}
  - org/never-fetched
precisions: [bf16, fp8-torchao]
axes: {{batch_size: [1, 4], tensor_parallel: [1, 4]}}
exclude: [{{model: org/never-fetched, tensor_parallel: 4}}]
repeats: 2
"""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    return file


def planned(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert plan_command.main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_every_cell_is_there_with_its_settings(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, str(sweep))
    cells = plan.expand(config.load(sweep))
    assert [cell["cell_id"] for cell in found["cells"]] == [cell.cell_id for cell in cells]
    assert (len(cells), found["excluded"], found["runs_left"]) == (12, 4, 24)
    assert found["cells"][1]["settings"] == {
        "model": "large", "precision": "bf16", "batch_size": 1, "tensor_parallel": 4, "input_tokens": 128,
        "output_tokens": 32, "attention": "sdpa", "processes": 1, "accelerator_type": None,
    }  # fmt: skip
    assert [cell["gpus"] for cell in found["cells"][:2]] == [1, 4]


def test_a_named_card_says_what_is_skipped_what_fits_and_how_long(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = planned(capsys, str(sweep), "--card", "A100-80G")
    large = [cell for cell in found["cells"] if cell["settings"]["model"] == "large"]
    plain = [cell for cell in large if cell["settings"]["precision"] == "bf16"]
    assert [cell["forecast"]["fits"] for cell in plain] == [False, True, False, True]
    assert all(cell["forecast"]["predicted_s"] > 0 for cell in plain)
    eight_bits = [cell for cell in large if cell["settings"]["precision"] == "fp8-torchao"]
    assert {cell["status"] for cell in eight_bits} == {"skipped"}
    assert "needs compute capability 8.9, and A100-80G has 8.0" in eight_bits[0]["reason"]
    assert found["runs_left"] == (4 + 2) * 2


def test_what_is_not_known_is_null_with_its_reason(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, str(sweep))
    unknown = found["cells"][-1]["forecast"]
    assert (unknown["flops"], unknown["memory_mb"]) == (None, None)
    assert "'org/never-fetched' is not on this disk" in unknown["flops_reason"]
    assert found["least_gpu_s"] is None
    assert found["cells"][0]["forecast"]["card_reason"] == "name the card with --card"


def test_what_is_done_already_is_said(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = plan.expand(config.load(sweep))
    journal = store.Journal(store.Folder("results/try"), provenance.fingerprint(), "cpu")
    for cell, repeat in [(cells[0], 0), (cells[0], 1), (cells[1], 0)]:
        failure = ProcessFailure(
            cell_id=cell.cell_id, repeat=repeat, status="failed", error_type="ValueError", error_message="no"
        )
        journal.append(Outcome(run=Run(cell=cell, repeat=repeat), failure=failure))
    found = planned(capsys, str(sweep))
    assert [(cell["status"], cell["repeats_done"]) for cell in found["cells"][:3]] == [
        ("done", 2), ("to do", 1), ("to do", 0),
    ]  # fmt: skip
    assert found["runs_left"] == 21
    assert plan_command.main([str(sweep)]) == 0
    assert "12 cells (11 to do, 1 done; 4 points excluded) x 2 repeats, 21 runs left" in capsys.readouterr().out


def test_the_table_shows_what_varies_and_says_the_rest_once(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_command.main([str(sweep), "--card", "A100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "every cell: input_tokens 128, output_tokens 32, attention sdpa, processes 1"
    assert " ".join(lines[3].split()) == (
        "model precision batch_size tensor_parallel GPUs GFLOP memory fits least time status"
    )
    assert sum("skipped [1]" in line for line in lines) == 6
    assert any(line.startswith("[1] fp8-torchao needs compute capability 8.9") for line in lines)


def test_a_wrong_sweep_is_its_one_error_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("name: x\nmodels: [a/b]\nprecisions: [fp61]\n")
    assert plan_command.main([str(file)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "did you mean 'fp16'?" in said.err


def test_an_output_that_cannot_be_reached_leaves_the_rest_of_the_plan(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.write_text(f"{SWEEP}\nout: nosuch://place/{{name}}\n")
    found = planned(capsys, str(sweep))
    assert "nosuch://place/try" in found["journal_reason"]
    assert len(found["cells"]) == 12


def test_planning_loads_neither_torch_nor_ray(sweep: Path) -> None:
    code = (
        f"import sys; from orchestrator import plan_command; plan_command.main([{str(sweep)!r}, '--json']);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "ray", "transformers"} & set(done.stderr.split())


def test_a_column_without_figures_is_left_out_and_its_reason_stays(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.write_text(SWEEP.replace("repeats: 2", "device: cpu").replace("  - org/never-fetched\n", "")
                     .replace("exclude: [{model: org/never-fetched, tensor_parallel: 4}]", ""))  # fmt: skip
    assert plan_command.main([str(sweep)]) == 0
    said = capsys.readouterr().out
    assert "x 1 repeat, " in said
    assert " ".join(said.splitlines()[3].split()) == "precision batch_size tensor_parallel GFLOP memory status"
    assert "No fit or time for large: CPUs have no datasheet figures here." in said
    assert "roofline" not in said
