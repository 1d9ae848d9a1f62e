"""`plan`: the status and forecast of every cell, without starting anything."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import config, grid, store
from orchestrator.commands import plan
from orchestrator.results import provenance
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
    assert plan.main([*argv, "--json"]) == 0
    plan_json = json.loads(capsys.readouterr().out)
    assert isinstance(plan_json, dict)
    return plan_json


def test_the_plan_has_every_cell_with_its_settings(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = planned(capsys, str(sweep))
    cells = grid.expand(config.load(sweep))
    assert [cell["cell_id"] for cell in printed["cells"]] == [cell.cell_id for cell in cells]
    assert (len(cells), printed["excluded"], printed["runs_left"]) == (12, 4, 24)
    assert printed["cells"][1]["settings"] == {
        "model": "large", "precision": "bf16", "batch_size": 1, "tensor_parallel": 4, "input_tokens": 128,
        "output_tokens": 32, "attention": "sdpa", "processes": 1, "accelerator_type": None,
    }  # fmt: skip
    assert [cell["gpus"] for cell in printed["cells"][:2]] == [1, 4]


def test_with_a_card_the_plan_says_what_is_skipped_what_fits_and_how_long(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = planned(capsys, str(sweep), "--card", "A100-80G")
    large = [cell for cell in printed["cells"] if cell["settings"]["model"] == "large"]
    plain = [cell for cell in large if cell["settings"]["precision"] == "bf16"]
    assert [cell["forecast"]["fits"] for cell in plain] == [False, True, False, True]
    assert all(cell["forecast"]["predicted_s"] > 0 for cell in plain)
    eight_bits = [cell for cell in large if cell["settings"]["precision"] == "fp8-torchao"]
    assert {cell["status"] for cell in eight_bits} == {"skipped"}
    assert "needs compute capability 8.9, and A100-80G has 8.0" in eight_bits[0]["reason"]
    assert printed["runs_left"] == (4 + 2) * 2


def test_an_unknown_figure_is_null_with_its_reason(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = planned(capsys, str(sweep))
    unknown = printed["cells"][-1]["forecast"]
    assert (unknown["flops"], unknown["memory_mb"]) == (None, None)
    assert "'org/never-fetched' is not on this disk" in unknown["flops_reason"]
    assert printed["least_gpu_s"] is None
    assert printed["cells"][0]["forecast"]["card_reason"] == "name the card with --card"


def test_the_plan_counts_finished_runs(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = grid.expand(config.load(sweep))
    journal = store.Journal(store.Folder("results/try"), provenance.fingerprint(), "cpu")
    for cell, repeat in [(cells[0], 0), (cells[0], 1), (cells[1], 0)]:
        failure = ProcessFailure(
            cell_id=cell.cell_id, repeat=repeat, status="failed", error_type="ValueError", error_message="no"
        )
        journal.append(Outcome(run=Run(cell=cell, repeat=repeat), failure=failure))
    printed = planned(capsys, str(sweep))
    assert [(cell["status"], cell["repeats_done"]) for cell in printed["cells"][:3]] == [
        ("done", 2), ("to do", 1), ("to do", 0),
    ]  # fmt: skip
    assert printed["runs_left"] == 21
    assert plan.main([str(sweep)]) == 0
    assert "12 cells (11 to do, 1 done; 4 points excluded) x 2 repeats, 21 runs left" in capsys.readouterr().out


def test_the_table_has_what_varies_and_one_line_has_the_rest(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main([str(sweep), "--card", "A100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "every cell: input_tokens 128, output_tokens 32, attention sdpa, processes 1"
    assert " ".join(lines[3].split()) == (
        "model precision batch_size tensor_parallel GPUs GFLOP memory fits least time status"
    )
    assert sum("skipped [1]" in line for line in lines) == 6
    assert any(line.startswith("[1] fp8-torchao needs compute capability 8.9") for line in lines)


def test_an_invalid_sweep_gives_one_error_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("name: x\nmodels: [a/b]\nprecisions: [fp61]\n")
    assert plan.main([str(file)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "did you mean 'fp16'?" in printed.err


def test_an_unreachable_output_leaves_the_rest_of_the_plan(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.write_text(f"{SWEEP}\nout: nosuch://place/{{name}}\n")
    printed = planned(capsys, str(sweep))
    assert "nosuch://place/try" in printed["journal_reason"]
    assert len(printed["cells"]) == 12


def test_plan_loads_neither_torch_nor_ray(sweep: Path) -> None:
    code = (
        f"import sys; from orchestrator.commands import plan; plan.main([{str(sweep)!r}, '--json']);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "ray", "transformers"} & set(done.stderr.split())


def test_a_column_without_values_is_omitted_and_its_reason_is_given(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.write_text(SWEEP.replace("repeats: 2", "device: cpu").replace("  - org/never-fetched\n", "")
                     .replace("exclude: [{model: org/never-fetched, tensor_parallel: 4}]", ""))  # fmt: skip
    assert plan.main([str(sweep)]) == 0
    printed = capsys.readouterr().out
    assert "x 1 repeat, " in printed
    assert " ".join(printed.splitlines()[3].split()) == "precision batch_size tensor_parallel GFLOP memory status"
    assert "No fit or time for large: no datasheet figures for CPUs." in printed
    assert "roofline" not in printed
