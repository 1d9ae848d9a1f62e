"""What describes no model is refused, with the place, the value and the nearest that would do."""

import math
from types import SimpleNamespace

import pytest
from test_costs import SMALL
from tiny import NOT_TINY, tiny
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from workers.errors import EstimateError, ModelLoadError
from workers.flops.plausible import MOST_LAYERS, check_fields, check_shape, check_sizes
from workers.records import Shape

MOE = {**SMALL, "model_type": "mixtral", "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2}


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


@pytest.mark.parametrize(
    "changes",
    [
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
