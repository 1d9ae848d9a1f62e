import json
from dataclasses import replace

import pytest
from transformers import PretrainedConfig

from orchestrator.costs.counting import count, model_config
from testbed.reality import estimator
from tests.support.llamas import LLAMA_2, SIZES, SMALL
from workers.records import PRECISION_SPECS, ModelSpec, Shape
from workers.records.errors import EstimateError, ModelLoadError


def cost(config, *, batch=1, prompt=16, new=4, precision="bf16", load=None):
    shape = Shape(batch_size=batch, input_tokens=prompt, output_tokens=new, precision=precision)
    return estimator().estimate(ModelSpec(name="m", config=config), [shape], load=load or {})[0]


@pytest.mark.parametrize(("size", "parameters"), [("7B", 6738415616), ("13B", 13015864320), ("70B", 68976648192)])
def test_llama_2_has_its_published_parameters(size, parameters):
    made = cost({**LLAMA_2, **SIZES[size]}, new=1)
    assert made.parameters == made.active_parameters == parameters
    assert made.flops.confidence == "high"


@pytest.mark.slow
def test_all_estimators_agree_on_a_70b_and_its_cache_is_that_of_gqa():
    made = cost({**LLAMA_2, **SIZES["70B"]}, batch=4, prompt=128, new=8)
    assert made.flops.value == made.estimates.dispatcher == made.estimates.architecture
    assert made.kv_cache_mb == pytest.approx(4 * (128 + 7) * 80 * 2 * 8 * 128 * 2 / 1e6)


def test_deepseek_v3_has_its_published_sizes():
    made = cost({"model_type": "deepseek_v3"}, prompt=32, new=2)
    assert made.parameters == pytest.approx(671e9, rel=0.01)
    assert made.active_parameters == pytest.approx(37e9, rel=0.02)
    assert made.flops.confidence in ("high", "medium")


@pytest.mark.slow
def test_all_shapes_of_a_model_share_few_counted_passes():
    shapes = [
        Shape(batch_size=b, input_tokens=p, output_tokens=g)
        for b in (1, 4, 16)
        for p in (16, 256)
        for g in (1, 32, 500)
    ]
    spec = ModelSpec(
        name="m", config={**SMALL, "sliding_window": 100, "model_type": "mistral", "num_key_value_heads": 2}
    )
    together = estimator().estimate(spec, shapes)
    for i in (8, 14):
        alone = estimator().estimate(spec, [shapes[i]])[0]
        assert together[i].flops.value == pytest.approx(alone.flops.value, rel=1e-12)
        assert together[i].kv_cache_mb == pytest.approx(alone.kv_cache_mb)


def test_a_count_that_raises_does_not_affect_the_next_one():
    first = cost(SMALL).estimates.calflops
    assert cost({**SMALL, "model_type": "xlm", "emb_dim": 64}).estimates.calflops is None
    assert cost(SMALL).estimates.calflops == first


def test_weight_only_precisions_have_the_flops_of_their_compute_type():
    precisions = ("bf16", "int8-bnb", "int4-bnb", "int8-torchao", "fp8-torchao")
    shapes = [Shape(batch_size=1, input_tokens=16, output_tokens=4, precision=precision) for precision in precisions]
    plain, *packed = estimator().estimate(ModelSpec(name="m", config=SMALL), shapes)
    for precision, made in zip(precisions[1:], packed, strict=True):
        assert made.flops.value == plain.flops.value
        assert made.flops.precision == PRECISION_SPECS[precision].compute == "bf16"
        assert made.parameters == plain.parameters
        assert made.weight_memory_mb < plain.weight_memory_mb


def test_an_unknown_architecture_is_low_with_a_reason():
    made = cost({**SMALL, "model_type": "never_heard_of"})
    assert (made.flops.method, made.flops.confidence) == ("parameter_estimate", "low")
    assert "never_heard_of" in made.flops.notes
    assert made.estimates.calflops is made.estimates.dispatcher is made.kv_cache_mb is None
    assert "never_heard_of" in made.kv_cache_reason
    assert made.parameters == cost({**SMALL, "tie_word_embeddings": True}).parameters - 5 * 64  # without the norms


def test_an_unknown_architecture_cannot_run_and_the_reason_names_the_nearest_one():
    assert "of type 'never_heard_of'" in cost({**SMALL, "model_type": "never_heard_of"}).cannot_run
    assert cost({**SMALL, "model_type": "llamaa"}).cannot_run.endswith("of type 'llamaa'; did you mean 'llama'?")


OWN = {
    "use_cache": False,
    "guidance_scale": 1.5,
    "cache_implementation": "static",
    "prompt_lookup_num_tokens": 3,
    "prefill_chunk_size": 4,
}


def test_generation_options_in_a_config_have_no_effect_and_are_noted():
    made = cost({**SMALL, **OWN})
    assert made.flops.value == cost(SMALL).flops.value
    assert made.flops.confidence == "high"
    for name, value in OWN.items():
        assert f"the model's own {name}: {value} has no effect" in made.flops.notes


def test_options_in_a_generation_config_have_no_effect_and_are_noted(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    (tmp_path / "generation_config.json").write_text(json.dumps({"num_beams": 4, "temperature": 0.7}))
    spec = ModelSpec(name="m", source=str(tmp_path))
    made = estimator().estimate(spec, [Shape(batch_size=1, input_tokens=16, output_tokens=4)])[0]
    assert (made.flops.value, made.flops.confidence) == (cost(SMALL).flops.value, "high")
    assert "own num_beams: 4 has no effect" in made.flops.notes
    assert "temperature" not in made.flops.notes


def test_an_integer_too_large_for_a_float_is_ignored():
    assert cost({**SMALL, "ours": 10**400}).flops == cost(SMALL).flops


def test_a_load_option_overrides_a_field_of_the_config_even_if_the_config_does_not_set_it():
    assert cost(SMALL, load={"num_key_value_heads": 1}).parameters < cost(SMALL).parameters
    assert cost(SMALL, load={"num_hidden_layers": 4}).flops == cost({**SMALL, "num_hidden_layers": 4}).flops
    assert cost(SMALL, load={"device_map": "auto"}).flops == cost(SMALL).flops


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec(name="m", source="/no/such/folder"), "config not available"),
        (ModelSpec(name="m", config={"hidden_size": 8}), "model_type"),
        (ModelSpec(name="m", config={**SMALL, "hidden_size": "wide"}), "its config is invalid"),
        (ModelSpec(name="m", config={"model_type": "never_heard_of"}), "hidden_size"),
        (ModelSpec(name="m", config={"model_type": "t5"}), "'t5' is an encoder-decoder"),
        (ModelSpec(name="m", config={"model_type": "clip"}), "'clip' is not a causal language model"),
    ],
)
def test_a_config_that_cannot_be_read_is_one_clear_error(spec, message):
    with pytest.raises(ModelLoadError, match=message):
        estimator().estimate(spec, [Shape(batch_size=1, input_tokens=4, output_tokens=1)])


@pytest.mark.parametrize("model_type", ["mistral3", "llava"])
def test_of_an_image_model_only_the_language_model_is_counted_and_it_cannot_run(model_type):
    made = cost({"model_type": model_type, "text_config": SMALL})
    assert (made.flops.value, made.flops.confidence) == (cost(SMALL).flops.value, "high")
    assert "only the language model in its text_config (llama)" in made.flops.notes
    assert f"{model_type!r} is not a causal language model" in made.cannot_run


def test_an_unknown_architecture_may_have_a_text_config():
    made = cost({"model_type": "never_heard_of", "text_config": {**SMALL, "model_type": "nor_of_this"}})
    assert (made.flops.confidence, made.parameters) == ("low", cost({**SMALL, "model_type": "nor_of_this"}).parameters)


def test_a_model_without_a_cache_has_a_null_cache_with_a_reason():
    made = cost({"model_type": "openai-gpt", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 99})
    assert made.kv_cache_mb is None
    assert "keeps no cache" in made.kv_cache_reason
    assert made.flops.confidence == "high"


@pytest.mark.parametrize("error", [TypeError("can't convert meta device type tensor to numpy"), AssertionError()])
def test_own_code_that_fails_on_the_meta_device_may_still_run(monkeypatch, error):
    def raises(_):
        raise error

    monkeypatch.setattr(count, "MetaModel", raises)
    model = ModelSpec(name="m", config=SMALL)
    known = model_config.read(model)
    assert count._inspect(model, replace(known, trust_remote_code=True)).no_meta.startswith(type(error).__name__)
    nameless = replace(known, config=PretrainedConfig(width=64), trust_remote_code=True)
    with pytest.raises(
        EstimateError, match=r"transformers cannot build it .*, and its config has no"
    ):  # a run may succeed
        count._inspect(model, nameless)
    with pytest.raises(ModelLoadError, match="its config is invalid"):
        count._inspect(model, known)
