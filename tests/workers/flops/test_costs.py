import json
from dataclasses import replace

import pytest
from reality import estimator
from transformers import PretrainedConfig

from workers.errors import EstimateError, ModelLoadError
from workers.flops import compute_dtype, config, costs
from workers.records import ModelSpec, Shape

LLAMA_2 = {"model_type": "llama", "vocab_size": 32000}
SIZES = {
    "7B": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 11008},
    "13B": {"hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 40, "intermediate_size": 13824},
    "70B": {
        "hidden_size": 8192,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "intermediate_size": 28672,
    },
}
SMALL = {
    "model_type": "llama",
    "vocab_size": 1000,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
}


def cost(config, *, batch=1, prompt=16, new=4, precision="bf16", load=None):
    shape = Shape(batch_size=batch, input_tokens=prompt, output_tokens=new, precision=precision)
    return estimator().estimate(ModelSpec(name="m", config=config), [shape], load=load or {})[0]


@pytest.mark.parametrize(("size", "parameters"), [("7B", 6738415616), ("13B", 13015864320), ("70B", 68976648192)])
def test_llama_2_has_its_published_parameters(size, parameters):
    made = cost({**LLAMA_2, **SIZES[size]}, new=1)
    assert made.parameters == made.active_parameters == parameters
    assert made.flops.confidence == "high"


@pytest.mark.slow
def test_all_estimators_agree_on_a_70b_and_its_cache_is_what_gqa_keeps():
    made = cost({**LLAMA_2, **SIZES["70B"]}, batch=4, prompt=128, new=8)
    assert made.flops.value == made.estimates.dispatcher == made.estimates.architecture
    assert made.kv_cache_mb == pytest.approx(4 * (128 + 7) * 80 * 2 * 8 * 128 * 2 / 1e6)


def test_deepseek_v3_is_costed_with_its_published_sizes():
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


def test_one_forked_count_that_raises_leaves_the_next_one_right():
    first = cost(SMALL).estimates.calflops
    assert cost({**SMALL, "model_type": "xlm", "emb_dim": 64}).estimates.calflops is None
    assert cost(SMALL).estimates.calflops == first


def test_weight_only_kinds_have_the_flops_of_the_type_they_compute_in():
    kinds = ("bf16", "int8-bnb", "int4-bnb", "int8-torchao", "fp8-torchao")
    shapes = [Shape(batch_size=1, input_tokens=16, output_tokens=4, precision=kind) for kind in kinds]
    plain, *packed = estimator().estimate(ModelSpec(name="m", config=SMALL), shapes)
    for kind, made in zip(kinds[1:], packed, strict=True):
        assert made.flops.value == plain.flops.value
        assert made.flops.precision == compute_dtype(kind) == "bf16"
        assert made.parameters == plain.parameters
        assert made.weight_memory_mb < plain.weight_memory_mb


def test_an_unknown_architecture_is_low_and_says_why():
    made = cost({**SMALL, "model_type": "never_heard_of"})
    assert (made.flops.method, made.flops.confidence) == ("parameter_estimate", "low")
    assert "never_heard_of" in made.flops.notes
    assert made.estimates.calflops is made.estimates.dispatcher is made.kv_cache_mb is None
    assert "never_heard_of" in made.kv_cache_reason
    assert made.parameters == cost({**SMALL, "tie_word_embeddings": True}).parameters - 5 * 64  # but for the norms


def test_an_architecture_that_transformers_cannot_build_takes_no_card_and_names_the_nearest():
    assert "of type 'never_heard_of'" in cost({**SMALL, "model_type": "never_heard_of"}).cannot_run
    assert cost({**SMALL, "model_type": "llamaa"}).cannot_run.endswith("of type 'llamaa'; did you mean 'llama'?")


OWN = {
    "use_cache": False,
    "guidance_scale": 1.5,
    "cache_implementation": "static",
    "prompt_lookup_num_tokens": 3,
    "prefill_chunk_size": 4,
}


def test_options_of_generating_that_a_config_brings_along_change_nothing_and_are_noted():
    made = cost({**SMALL, **OWN})
    assert made.flops.value == cost(SMALL).flops.value
    assert made.flops.confidence == "high"
    for name, value in OWN.items():
        assert f"the model's own {name}: {value} has no effect" in made.flops.notes


def test_so_are_those_of_a_generation_config_in_the_models_folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    (tmp_path / "generation_config.json").write_text(json.dumps({"num_beams": 4, "temperature": 0.7}))
    spec = ModelSpec(name="m", source=str(tmp_path))
    made = estimator().estimate(spec, [Shape(batch_size=1, input_tokens=16, output_tokens=4)])[0]
    assert (made.flops.value, made.flops.confidence) == (cost(SMALL).flops.value, "high")
    assert "own num_beams: 4 has no effect" in made.flops.notes
    assert "temperature" not in made.flops.notes


def test_an_integer_that_no_float_holds_is_no_breakpoint_and_no_doubt():
    assert cost({**SMALL, "ours": 10**400}).flops == cost(SMALL).flops


def test_an_option_of_loading_that_names_a_field_bends_the_config_even_where_it_is_not_written():
    assert cost(SMALL, load={"num_key_value_heads": 1}).parameters < cost(SMALL).parameters
    assert cost(SMALL, load={"num_hidden_layers": 4}).flops == cost({**SMALL, "num_hidden_layers": 4}).flops
    assert cost(SMALL, load={"device_map": "auto"}).flops == cost(SMALL).flops


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ModelSpec(name="m", source="/no/such/folder"), "no config"),
        (ModelSpec(name="m", config={"hidden_size": 8}), "model_type"),
        (ModelSpec(name="m", config={**SMALL, "hidden_size": "wide"}), "does not fit"),
        (ModelSpec(name="m", config={"model_type": "never_heard_of"}), "hidden_size"),
        (ModelSpec(name="m", config={"model_type": "t5"}), "'t5' is an encoder-decoder"),
        (ModelSpec(name="m", config={"model_type": "clip"}), "'clip' is no causal language model"),
    ],
)
def test_a_config_that_cannot_be_read_is_one_clear_error(spec, words):
    with pytest.raises(ModelLoadError, match=words):
        estimator().estimate(spec, [Shape(batch_size=1, input_tokens=4, output_tokens=1)])


@pytest.mark.parametrize("kind", ["mistral3", "llava"])
def test_of_a_model_of_images_the_language_model_is_counted_which_the_worker_cannot_run(kind):
    made = cost({"model_type": kind, "text_config": SMALL})
    assert (made.flops.value, made.flops.confidence) == (cost(SMALL).flops.value, "high")
    assert "text_config (llama) alone" in made.flops.notes
    assert f"{kind!r} is no causal language model" in made.cannot_run


def test_an_unknown_architecture_may_have_a_text_config_too():
    made = cost({"model_type": "never_heard_of", "text_config": {**SMALL, "model_type": "nor_of_this"}})
    assert (made.flops.confidence, made.parameters) == ("low", cost({**SMALL, "model_type": "nor_of_this"}).parameters)


def test_a_model_that_keeps_nothing_between_passes_has_no_cache_and_says_so():
    made = cost({"model_type": "openai-gpt", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 99})
    assert made.kv_cache_mb is None
    assert "keeps nothing" in made.kv_cache_reason
    assert made.flops.confidence == "high"


@pytest.mark.parametrize("error", [TypeError("can't convert meta device type tensor to numpy"), AssertionError()])
def test_own_code_that_cannot_be_built_without_memory_may_still_run(monkeypatch, error):
    def raises(_):
        raise error

    monkeypatch.setattr(costs, "Twin", raises)
    model = ModelSpec(name="m", config=SMALL)
    known = config.read(model)
    assert costs._draw(model, replace(known, trust_remote_code=True)).no_twin.startswith(type(error).__name__)
    nameless = replace(known, config=PretrainedConfig(width=64), trust_remote_code=True)
    with pytest.raises(EstimateError, match="neither can transformers build it"):  # which fails no run
        costs._draw(model, nameless)
    with pytest.raises(ModelLoadError, match="its config does not fit"):
        costs._draw(model, known)
