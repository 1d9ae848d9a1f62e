"""Verdicts against real runs of tiny models, for the decoder architectures of transformers."""

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from testbed.reality import SHAPE, compared, estimator, executed, keeps_its_promise, spec
from testbed.tiny import NOT_TINY, tiny
from workers.records import Shape

COMMON = [
    *("llama", "gpt2", "qwen3", "mistral", "gemma3_text", "opt", "bloom", "gpt_neox", "gptj", "falcon", "mixtral"),
    *("deepseek_v3", "gpt_oss", "llama4_text", "mamba"),
]
OTHERS = sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(COMMON) - set(NOT_TINY))


@pytest.mark.parametrize("model_type", COMMON)
def test_a_common_architecture_is_high_and_within_one_percent_of_a_real_run(model_type):
    real, cost = compared(model_type)
    assert cost.flops.confidence == "high", cost.flops.notes
    assert cost.flops.value == pytest.approx(real, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", OTHERS)
def test_an_architecture_keeps_the_promise_of_its_confidence(model_type):
    real, cost = compared(model_type)
    assert keeps_its_promise(real, cost), f"{cost.flops} against {real}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_at_most_one_architecture_in_twenty_is_low():
    low = [name for name in (*COMMON, *OTHERS) if compared(name)[1].flops.confidence == "low"]
    assert len(low) <= (len(COMMON) + len(OTHERS)) / 20, low


@pytest.mark.parametrize(
    ("model_type", "layout"),
    [
        ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
        ("falcon", {"multi_query": False, "num_kv_heads": 4, "alibi": True, "parallel_attn": False}),
        ("opt", {"word_embed_proj_dim": 32}),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}),
    ],
)
def test_layouts_of_one_architecture_are_distinguished(model_type, layout):
    config = tiny(model_type, **layout)
    cost = estimator().estimate(spec(config), [SHAPE])[0]
    assert keeps_its_promise(executed(config), cost)
    assert cost.flops.confidence != "low", cost.flops.notes


@pytest.mark.parametrize(("prompt", "new"), [(3, 14), (8, 2), (20, 9), (5, 1)])
def test_a_sliding_window_is_exact_before_at_and_after_its_edge(prompt, new):
    shape = Shape(batch_size=3, input_tokens=prompt, output_tokens=new)
    config = tiny("mistral")
    cost = estimator().estimate(spec(config), [shape])[0]
    assert cost.estimates.dispatcher == cost.estimates.architecture == executed(config, shape)


def test_the_closed_form_is_exact_for_supported_architectures():
    for model_type in ("mixtral", "gpt_oss", "deepseek_v3", "bloom", "falcon"):
        real, cost = compared(model_type)
        assert cost.estimates.architecture == pytest.approx(real, rel=0.01), model_type
