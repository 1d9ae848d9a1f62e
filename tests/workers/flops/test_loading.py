"""Options of loading, held against the config of the model that they are for."""

import json
import time
from pathlib import Path

import pytest

from workers.errors import ModelLoadError
from workers.flops import EstimatorProcess, loading
from workers.records import ModelSpec, Shape

LLAMA = ModelSpec(name="m", config={"model_type": "llama", "hidden_size": 64})


@pytest.mark.parametrize("load", [{}, {"num_hidden_layers": 2}, {"use_cache": False, "subfolder": "x"}])
def test_arguments_of_loading_and_fields_of_the_config_are_taken(load) -> None:
    loading.check(LLAMA, load)


def test_a_field_of_another_models_config_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA.config))
    for model in (LLAMA, ModelSpec(name="m", source=str(tmp_path))):
        with pytest.raises(
            ModelLoadError, match=r"model 'm': load\.num_layers is neither .* nor a field of LlamaConfig"
        ):
            loading.check(model, {"num_layers": 2})
    with pytest.raises(ModelLoadError, match="did you mean 'num_key_value_heads'"):
        loading.check(LLAMA, {"num_kv_heads": 2})


def test_a_model_of_millions_of_layers_is_not_built_to_look_at_its_options() -> None:
    deep = ModelSpec(name="m", config={"model_type": "qwen3", "num_hidden_layers": 20_000_000})
    began = time.process_time()
    loading.check(deep, {"hidden_size": 64})
    assert time.process_time() - began < 5


def test_what_a_models_own_code_or_a_type_that_nobody_knows_takes_is_left_to_it() -> None:
    loading.check(LLAMA.model_copy(update={"trust_remote_code": True}), {"ours": 1})
    loading.check(ModelSpec(name="m", config={"model_type": "nobody-knows"}), {"ours": 1})


@pytest.mark.slow
def test_the_process_beside_the_driver_says_so_before_it_counts() -> None:
    shape = Shape(batch_size=1, input_tokens=1, output_tokens=1, precision="fp32")
    with EstimatorProcess() as process, pytest.raises(ModelLoadError, match="nor a field of LlamaConfig"):
        process.estimate(LLAMA, [shape], load={"n_layer": 2})
