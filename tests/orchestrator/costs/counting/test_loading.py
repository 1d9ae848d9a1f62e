"""Check of `load` options against the config of their model."""

import json
import time
from pathlib import Path

import pytest

from orchestrator.costs.counting import loading
from orchestrator.costs.counting.process import EstimatorProcess
from workers.records import ModelSpec, Shape
from workers.records.errors import ModelLoadError

LLAMA = ModelSpec(name="m", config={"model_type": "llama", "hidden_size": 64})


@pytest.mark.parametrize("load", [{}, {"num_hidden_layers": 2}, {"use_cache": False, "subfolder": "x"}])
def test_arguments_of_from_pretrained_and_fields_of_the_config_pass(load) -> None:
    loading.check(LLAMA, load)


def test_an_unknown_option_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA.config))
    for model in (LLAMA, ModelSpec(name="m", source=str(tmp_path))):
        with pytest.raises(
            ModelLoadError, match=r"model 'm': load\.num_layers is neither .* nor a field of LlamaConfig"
        ):
            loading.check(model, {"num_layers": 2})
    with pytest.raises(ModelLoadError, match="did you mean 'num_key_value_heads'"):
        loading.check(LLAMA, {"num_kv_heads": 2})


def test_a_model_with_millions_of_layers_is_checked_quickly() -> None:
    deep = ModelSpec(name="m", config={"model_type": "qwen3", "num_hidden_layers": 20_000_000})
    began = time.process_time()
    loading.check(deep, {"hidden_size": 64})
    assert time.process_time() - began < 5


def test_options_of_a_models_own_code_or_of_an_unknown_model_type_are_not_checked() -> None:
    loading.check(LLAMA.model_copy(update={"trust_remote_code": True}), {"ours": 1})
    loading.check(ModelSpec(name="m", config={"model_type": "nobody-knows"}), {"ours": 1})


@pytest.mark.slow
def test_the_counting_process_refuses_an_unknown_option() -> None:
    shape = Shape(batch_size=1, input_tokens=1, output_tokens=1, precision="fp32")
    with EstimatorProcess() as process, pytest.raises(ModelLoadError, match="nor a field of LlamaConfig"):
        process.estimate(LLAMA, [shape], load={"n_layer": 2})
