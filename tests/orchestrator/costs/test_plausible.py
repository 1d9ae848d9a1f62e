"""An impossible config is refused, with the field, its value and a valid value."""

import math
from types import SimpleNamespace

import pytest
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from orchestrator.costs.plausible import MOST_LAYERS, MOST_LEVELS, check_fields, check_shape, check_sizes
from testbed.tiny import NOT_TINY, tiny
from tests.support.llamas import SMALL
from workers.records import Shape
from workers.records.errors import EstimateError, ModelLoadError

MOE = {**SMALL, "model_type": "mixtral", "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2}

MLA = {
    **MOE,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
}


def check(fields):
    check_fields("m", fields)
    check_sizes("m", SimpleNamespace(**fields))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": math.nan}, "config.hidden_size: nan is not a finite number"),
        (
            {"rope_parameters": {"rope_theta": math.inf}},
            "config.rope_parameters.rope_theta: inf is not a finite number",
        ),
        ({"long_factor": [1.0, -math.inf]}, r"config.long_factor\[1\]: -inf is not a finite number"),
        ({"num_hidden_layers": 0}, "config.num_hidden_layers: 0 is not a valid size; the nearest is 1"),
        ({"vocab_size": 0}, "config.vocab_size: 0 is not a valid size; the nearest is 1"),
        ({"num_attention_heads": 0}, "config.num_attention_heads: 0 is not a valid size"),
        ({"intermediate_size": -96}, "config.intermediate_size: -96 is not a valid size"),
        ({"hidden_size": 10**12}, "config.hidden_size: 1000000000000 is not a valid size; the nearest is 1000000000"),
        ({"num_key_value_heads": 3}, "config.num_key_value_heads: 3 does not divide the 4 .* divisor is 2"),
        ({"num_key_value_heads": 8}, "config.num_key_value_heads: 8 does not divide the 4 .* divisor is 4"),
        ({"num_experts_per_tok": 0}, "config.num_experts_per_tok: 0 of 4 experts per token; use 1 to 4"),
        ({"num_experts_per_tok": 5}, "config.num_experts_per_tok: 5 of 4 experts per token; use 1 to 4"),
    ],
)
def test_an_impossible_config_is_refused(changes, message):
    with pytest.raises(ModelLoadError, match=f"^model 'm': {message}"):
        check({**MOE, **changes})


NO_ZERO = ["v_head_dim", "qk_nope_head_dim", "kv_lora_rank", "n_group", "state_size", "n_positions", "mamba_d_conv"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, -2)
        for name in (
            *sorted(MLA.keys() - {"model_type"}),
            "shared_expert_intermediate_size",
            "mamba_d_state",
            "moe_topk",
            "kernel_size",
        )
    ]
    + [(name, 0) for name in NO_ZERO],
)
def test_an_impossible_size_of_any_name_is_refused(name, value):
    with pytest.raises(ModelLoadError, match=f"config.{name}: {value} is not a valid size"):
        check({**MLA, name: value})


def test_the_width_of_the_mlp_and_of_the_heads_must_be_positive_unless_experts_or_mla_replace_them():
    for name in ("intermediate_size", "head_dim"):
        check({**MLA, name: 0})
        with pytest.raises(ModelLoadError, match=f"config.{name}: 0 is not a valid size; the nearest is 1"):
            check({**SMALL, name: 0})


@pytest.mark.parametrize("place", ["text_config", "decoder", "attn_config"])
def test_nested_fields_are_checked(place):
    with pytest.raises(ModelLoadError, match=f"config.{place}.q_lora_rank: -1 is not a valid size"):
        check_fields("m", {"model_type": "llava", place: {"q_lora_rank": -1}})
    for depth in ("num_hidden_layers", "n_layer", "num_decoder_layers"):
        with pytest.raises(EstimateError, match=f"config.{place}.{depth}: 20000000 layers are too many"):
            check_fields("m", {"model_type": "llava", place: {depth: 20_000_000}})


@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers"])
def test_numbers_with_thousands_of_digits_are_shortened_in_messages(name):
    with pytest.raises((ModelLoadError, EstimateError)) as raised:
        check_fields("m", {**SMALL, name: 10**4000})
    assert len(str(raised.value)) < 300


def test_a_config_nested_too_deep_is_refused_with_a_short_message():
    nested: list = []
    for _ in range(MOST_LEVELS - 2):
        nested = [nested]
    check_fields("m", {"x": nested})
    for _ in range(900):
        nested = [nested]
    with pytest.raises(ModelLoadError, match=r"config.x\[0\]\[0\].*: nested more than 32 levels") as raised:
        check_fields("m", {"x": nested})
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    "changes",
    [
        {"quantization_config": {"group_size": -1}},
        {"text_config": {"quantization_config": {"group_size": -1}}},
        {"vision_config": {"feature_layer": -2, "window_size": -1}},
        {"vision_feature_layer": [-11, -2]},
        {"kv_lora_rank": None, "qk_nope_head_dim": 0, "v_head_dim": 0, "use_mla": False},
        {"time_step_limit": [0.0, math.inf]},
        {"num_local_experts": 0, "num_experts_per_tok": 0},
        {"kv_lora_rank": 16, "num_key_value_heads": 128},
        {"head_dim": None, "intermediate_size": [96, 64]},
    ],
)
def test_infinite_bounds_and_models_without_experts_or_mla_pass(changes):
    check({**MOE, **changes})


@pytest.mark.parametrize("make", [AutoConfig.for_model, tiny])
def test_every_default_config_of_transformers_passes(make):
    for model_type in sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(NOT_TINY)):
        config = make(model_type)
        check_fields(model_type, config.to_dict())
        check_sizes(model_type, config.get_text_config(decoder=True))


def test_a_model_or_shape_too_large_to_count_is_an_estimate_error():
    check_sizes("m", SimpleNamespace(num_hidden_layers=MOST_LAYERS))
    with pytest.raises(EstimateError, match=r"config.num_hidden_layers: 1000000 layers are too many .* at most 1000"):
        check_sizes("m", SimpleNamespace(num_hidden_layers=10**6))
    with pytest.raises(EstimateError, match="batch_size: 100000000000000000000 is too large to count; at most"):
        check_shape(Shape(batch_size=10**20, input_tokens=1, output_tokens=1))
