"""What options of `generate` do to the FLOPs, against real runs."""

import pytest
from reality import SHAPE, estimator, executed, spec
from tiny import tiny

from workers.flops.options import sequences, uncounted


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3},
        {"num_beams": 4, "num_return_sequences": 2},
        {"do_sample": True, "num_return_sequences": 3},
        {"repetition_penalty": 1.2, "do_sample": True, "top_k": 5},
        {},
    ],
)
def test_sequences_of_one_prompt_are_counted_as_so_many_prompts(options):
    shape = SHAPE.model_copy(update={"batch_size": SHAPE.batch_size * sequences(options)})
    cost = estimator().estimate(spec(tiny("llama")), [shape])[0]
    assert cost.flops.confidence == "high"
    assert cost.flops.value == pytest.approx(executed(tiny("llama"), **options), rel=0.01)
    assert uncounted(options, input_tokens=SHAPE.input_tokens) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"guidance_scale": 1.5}, "second pass"),
        ({"cache_implementation": "static"}, "full length"),
        ({"prefill_chunk_size": 4}, "in pieces"),
        ({"use_cache": False}, "whole sequence again"),
    ],
)
def test_what_is_computed_but_not_counted_is_said(options, words):
    assert executed(tiny("llama"), **options) != executed(tiny("llama"))
    assert words in uncounted(options, input_tokens=SHAPE.input_tokens)


@pytest.mark.parametrize(
    "options", [{"guidance_scale": 1}, {"prefill_chunk_size": 500}, {"cache_implementation": "offloaded"}]
)
def test_options_without_effect_leave_no_doubt(options):
    assert uncounted(options, input_tokens=12) is None


@pytest.mark.parametrize("options", [{"prompt_lookup_num_tokens": 2}, {"penalty_alpha": 0.6, "top_k": 4}])
def test_what_makes_as_many_passes_as_it_pleases_is_said(options):
    assert "depends on what is generated" in uncounted(options, input_tokens=12)
