"""How options of `generate` change the FLOPs, against real runs."""

import pytest

from orchestrator.costs.options import sequences, uncounted
from testbed.reality import SHAPE, estimator, executed, spec
from testbed.tiny import tiny


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
def test_each_sequence_of_a_prompt_counts_as_one_prompt(options):
    shape = SHAPE.model_copy(update={"batch_size": SHAPE.batch_size * sequences(options)})
    cost = estimator().estimate(spec(tiny("llama")), [shape])[0]
    assert cost.flops.confidence == "high"
    assert cost.flops.value == pytest.approx(executed(tiny("llama"), **options), rel=0.01)
    assert uncounted(options, input_tokens=SHAPE.input_tokens) is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"guidance_scale": 1.5}, "second pass"),
        ({"cache_implementation": "static"}, "full length"),
        ({"prefill_chunk_size": 4}, "into chunks"),
        ({"use_cache": False}, "recomputes the whole sequence"),
    ],
)
def test_an_option_that_changes_the_flops_without_being_counted_is_reported(options, text):
    assert executed(tiny("llama"), **options) != executed(tiny("llama"))
    assert text in uncounted(options, input_tokens=SHAPE.input_tokens)


@pytest.mark.parametrize(
    "options", [{"guidance_scale": 1}, {"prefill_chunk_size": 500}, {"cache_implementation": "offloaded"}]
)
def test_options_without_effect_are_not_reported(options):
    assert uncounted(options, input_tokens=12) is None


@pytest.mark.parametrize("options", [{"prompt_lookup_num_tokens": 2}, {"penalty_alpha": 0.6, "top_k": 4}])
def test_an_option_with_an_unknown_number_of_passes_is_reported(options):
    assert "depends on the generated text" in uncounted(options, input_tokens=12)
