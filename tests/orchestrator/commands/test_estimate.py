import json
import math
import subprocess
import sys

import pytest

from orchestrator.commands.estimate import main, model_spec

LLAMA = {
    "model_type": "llama",
    "vocab_size": 1000,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "time_step_limit": [0.0, float("inf")],
}
SHAPE = ["--batch-size", "2", "--input-tokens", "16", "--output-tokens", "4"]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    return path


@pytest.mark.slow
def test_json_has_the_verdict_and_every_figure_at_the_top_level(config, capsys):
    assert main([str(config), *SHAPE, "--precision", "int4-bnb", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["method"], made["confidence"], made["precision"]) == ("calflops", "high", "bf16")
    assert made["value"] == made["flops_calflops"] == made["flops_dispatcher"] == made["flops_architecture"]
    assert made["flops_parameter_estimate"] == 2 * made["active_parameters"] * 2 * (16 + 3)
    assert made["parameters"] == made["active_parameters"] > 2 * 1000 * 64
    assert made["kv_cache_mb"] == pytest.approx(2 * 19 * 2 * 2 * 2 * 16 * 2 / 1e6)
    assert 0 < made["weight_memory_mb"] < made["parameters"] * 2 / 1e6
    assert "differ" in made["notes"]


@pytest.mark.slow
def test_a_folder_is_a_model_and_the_default_output_is_a_table(config, capsys):
    assert main([str(config.parent), *SHAPE]) == 0
    output = capsys.readouterr().out
    assert "calflops, high, bf16" in output
    assert "KV cache" in output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "a JSON object is needed"),
        ('{"model_type": "llama", "hidden_size": "wide"}', "its config is invalid"),
        ('{"model_type": "llama", "hidden_size": NaN}', "config.hidden_size: nan is not a finite number"),
        ('{"model_type": "llama", "vocab_size": Infinity}', "config.vocab_size: inf is not a finite number"),
        ('{"model_type": "llama", "num_hidden_layers": 1000000}', "1000000 layers are too many"),
        (
            '{"model_type": "llava", "text_config": {"model_type": "qwen3", "num_hidden_layers": 20000000}}',
            "config.text_config.num_hidden_layers: 20000000 layers are too many",
        ),
        (
            '{"model_type": "qwen2_moe", "shared_expert_intermediate_size": -96}',
            "intermediate_size: -96 is not a valid size",
        ),
        ('{"model_type": "llama", "x": ' + "[" * 900 + "]" * 900 + "}", "nested more than 32 levels deep"),
        ('{"model_type": "llama", "' + "k" * 9000 + '": NaN}', "characters left out"),
        pytest.param(
            '{"model_type": "llama", "text_config": {"hidden_size": 32}}',
            "config.text_config: 'llama' has no such part",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_invalid_config_is_a_one_line_message_and_status_two(content, message, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(content)
    assert main([str(path), *SHAPE]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert len(error) < 1_100


def test_an_infinite_bound_is_removed_at_any_depth(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps({**LLAMA, "ssm_cfg": {"a": [{"clip": math.inf, "b": 1}], "time_step_limit": [0, math.inf]}})
    )
    config = model_spec(str(path)).config
    assert config["ssm_cfg"] == {"a": [{"b": 1}]}
    assert "time_step_limit" not in config


@pytest.mark.slow
def test_a_model_without_positions_for_the_last_tokens_cannot_run(tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": 1, "vocab_size": 99}))
    past = ["--batch-size", "1", "--input-tokens", "1020", "--output-tokens", "10"]
    assert main([str(path), *past, "--json"]) == 0
    assert "at most 1025 together" in json.loads(capsys.readouterr().out)["cannot_run"]
    assert main([str(path), *past]) == 0
    assert "can run" in capsys.readouterr().out


def test_for_a_sweep_file_the_message_names_plan(tmp_path, capsys):
    path = tmp_path / "sweep.yaml"
    path.write_text("models: gpt2")
    assert main([str(path), *SHAPE]) == 2
    assert "for a sweep file, use `plan`" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing.json", "nothing.yaml"])
def test_a_missing_path_is_status_two(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([name, *SHAPE]) == 2
    assert "no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0", "-1", "x", "1.5"])
def test_a_size_that_is_not_positive_is_status_two(size, config, capsys):
    with pytest.raises(SystemExit) as exited:
        main([str(config), "--batch-size", size, "--input-tokens", "1", "--output-tokens", "1"])
    assert exited.value.code == 2
    assert "not a positive whole number" in capsys.readouterr().err


def test_the_command_itself_loads_no_torch():
    script = (
        "import sys, orchestrator.commands.estimate; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
