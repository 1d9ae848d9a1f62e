"""What describes no model is refused, with the place, the value and the nearest that would do."""

import math
from types import SimpleNamespace

import pytest
from test_costs import SMALL
from tiny import NOT_TINY, tiny
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from workers.errors import EstimateError, ModelLoadError
from workers.flops.plausible import MOST_LAYERS, MOST_LEVELS, check_fields, check_shape, check_sizes
from workers.records import Shape

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
    ("changes", "words"),
    [
        ({"hidden_size": math.nan}, "config.hidden_size: nan is not a number"),
        ({"rope_parameters": {"rope_theta": math.inf}}, "config.rope_parameters.rope_theta: inf is not a number"),
        ({"long_factor": [1.0, -math.inf]}, r"config.long_factor\[1\]: -inf is not a number"),
        ({"num_hidden_layers": 0}, "config.num_hidden_layers: 0 is no size; the nearest is 1"),
        ({"vocab_size": 0}, "config.vocab_size: 0 is no size; the nearest is 1"),
        ({"num_attention_heads": 0}, "config.num_attention_heads: 0 is no size"),
        ({"intermediate_size": -96}, "config.intermediate_size: -96 is no size"),
        ({"hidden_size": 10**12}, "config.hidden_size: 1000000000000 is no size; the nearest is 1000000000"),
        ({"num_key_value_heads": 3}, "config.num_key_value_heads: 3 does not divide the 4 .* that does is 2"),
        ({"num_key_value_heads": 8}, "config.num_key_value_heads: 8 does not divide the 4 .* that does is 4"),
        ({"num_experts_per_tok": 0}, "config.num_experts_per_tok: 0 of 4 experts; the nearest is 1"),
        ({"num_experts_per_tok": 5}, "config.num_experts_per_tok: 5 of 4 experts; the nearest is 4"),
    ],
)
def test_a_config_that_no_model_has_is_refused(changes, words):
    with pytest.raises(ModelLoadError, match=f"^model 'm': {words}"):
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
def test_a_size_by_whichever_name_is_refused_where_no_model_has_it(name, value):
    with pytest.raises(ModelLoadError, match=f"config.{name}: {value} is no size"):
        check({**MLA, name: value})


def test_a_dense_mlp_and_one_width_of_heads_must_be_there_where_nothing_replaces_them():
    for name in ("intermediate_size", "head_dim"):
        check({**MLA, name: 0})
        with pytest.raises(ModelLoadError, match=f"config.{name}: 0 is no size; the nearest is 1"):
            check({**SMALL, name: 0})


@pytest.mark.parametrize("place", ["text_config", "decoder", "attn_config"])
def test_what_is_nested_is_checked_before_anything_is_built(place):
    with pytest.raises(ModelLoadError, match=f"config.{place}.q_lora_rank: -1 is no size"):
        check_fields("m", {"model_type": "llava", place: {"q_lora_rank": -1}})
    for depth in ("num_hidden_layers", "n_layer", "num_decoder_layers"):
        with pytest.raises(EstimateError, match=f"config.{place}.{depth}: 20000000 layers are too many"):
            check_fields("m", {"model_type": "llava", place: {depth: 20_000_000}})


@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers"])
def test_numbers_of_thousands_of_digits_are_named_shortly(name):
    with pytest.raises((ModelLoadError, EstimateError)) as refused:
        check_fields("m", {**SMALL, name: 10**4000})
    assert len(str(refused.value)) < 300


def test_levels_beyond_those_of_any_config_are_refused_in_one_short_line():
    nested: list = []
    for _ in range(MOST_LEVELS - 2):
        nested = [nested]
    check_fields("m", {"x": nested})
    for _ in range(900):
        nested = [nested]
    with pytest.raises(ModelLoadError, match=r"config.x\[0\]\[0\].*: more than 32 levels") as refused:
        check_fields("m", {"x": nested})
    assert len(str(refused.value)) < 200


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
def test_bounds_at_infinity_models_without_experts_and_mla_are_none_the_worse(changes):
    check({**MOE, **changes})


@pytest.mark.parametrize("make", [AutoConfig.for_model, tiny])
def test_every_config_that_transformers_comes_with_passes(make):
    for kind in sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(NOT_TINY)):
        config = make(kind)
        check_fields(kind, config.to_dict())
        check_sizes(kind, config.get_text_config(decoder=True))


def test_what_is_too_large_to_count_is_no_fault_of_the_model():
    check_sizes("m", SimpleNamespace(num_hidden_layers=MOST_LAYERS))
    with pytest.raises(EstimateError, match=r"config.num_hidden_layers: 1000000 layers are too many .* at most 1000"):
        check_sizes("m", SimpleNamespace(num_hidden_layers=10**6))
    with pytest.raises(EstimateError, match="batch_size: 100000000000000000000 is more than is counted; at most"):
        check_shape(Shape(batch_size=10**20, input_tokens=1, output_tokens=1))
