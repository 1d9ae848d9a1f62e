"""Models whose passes depend on earlier passes or on the sequence length, against real runs."""

from dataclasses import replace

import pytest

from orchestrator.costs.counting import by_dispatcher, count, model_config, passes
from orchestrator.costs.counting.meta_model import MetaModel
from testbed.reality import estimator, executed, keeps_its_promise, spec
from testbed.tiny import tiny
from workers.records import Shape

SWITCH = {"original_max_position_embeddings": 24}
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
ACROSS = Shape(batch_size=2, input_tokens=20, output_tokens=12, precision="fp32")

CASES = {
    "Phi-3 computes its prompt again": ("phi3", SWITCH),
    "as with two sets of frequencies": ("phi3", {**SWITCH, "rope_parameters": {**LONGROPE, **SWITCH}}),
    "PhiMoE does too": (
        "phimoe",
        {**SWITCH, "rope_parameters": {**LONGROPE, **SWITCH, "short_mscale": 1.0, "long_mscale": 1.2}},
    ),
    "Phi-4 forgets its prompt at each pass": ("phi4_multimodal", SWITCH),
    "XLNet keeps the first of what it computed": ("xlnet", {"reuse_len": 6}),
    "XLNet forgets": ("xlnet", {"mem_len": 10, "reuse_len": 4}),
    "frequencies depend on the length": ("llama", {"max_position_embeddings": 24, "rope_parameters": DYNAMIC}),
    "a config says that nothing is cached": ("llama", {"use_cache": False}),
    "as MPT's always does": ("mpt", {"use_cache": False}),
    "a cache is compressed as it grows": ("deepseek_v4", {}),
    "attention is in chunks": ("llama4_text", {"attention_chunk_size": 24}),
}


USUAL = (
    "Phi-3 computes its prompt again",
    "Phi-4 forgets its prompt at each pass",
    "XLNet keeps the first of what it computed",
)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [pytest.param(*case, id=name, marks=() if name in USUAL else pytest.mark.slow) for name, case in CASES.items()],
)
def test_an_inference_whose_passes_change_is_counted_correctly(kind, changes):
    made = tiny(kind, **changes)
    cost = estimator().estimate(spec(made), [ACROSS])[0]
    assert cost.flops.confidence == "high", cost.flops.notes
    assert cost.flops.value == pytest.approx(executed(made, ACROSS), rel=0.01)


@pytest.mark.slow
def test_a_cache_that_is_compressed_every_few_tokens_is_counted_over_a_hundred_tokens():
    shape = Shape(batch_size=1, input_tokens=40, output_tokens=110, precision="fp32")
    cost = estimator().estimate(spec(tiny("deepseek_v4")), [shape])[0]
    assert cost.flops.confidence == "high", cost.flops.notes
    assert keeps_its_promise(executed(tiny("deepseek_v4"), shape), cost)


def few(kind, changes, shape):
    """The dispatcher's passes, interpolated because there are too many to count each one."""
    read = model_config.read(spec(tiny(kind, **changes)))
    return passes.Passes(by_dispatcher.counter(MetaModel(read)), [shape], read.breakpoints, modules=passes.IN_DOUBT)


LONG = ACROSS.model_copy(update={"output_tokens": 60})


def test_interpolation_finds_the_one_pass_that_recomputes_the_prompt():
    counted = few("phi3", {"original_max_position_embeddings": 47}, LONG)
    assert counted.doubt is None
    assert counted.flops(LONG) == executed(tiny("phi3", original_max_position_embeddings=47), LONG)


@pytest.mark.parametrize(
    ("kind", "changes"), [("phi4_multimodal", {"original_max_position_embeddings": 47}), ("xlnet", {"reuse_len": 6})]
)
def test_interpolation_is_doubted_if_passes_depend_on_earlier_passes(kind, changes):
    assert "depends on earlier passes" in few(kind, changes, LONG).doubt


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("gpt2", 256),
        *(
            pytest.param(kind, most, marks=pytest.mark.slow)
            for kind, most in {
                "opt": 256, "gptj": 256, "ctrl": 256, "biogpt": 256, "mpt": 64, "xglm": None, "llama": None,
                "prophetnet": 254, "xlm": 255,
            }.items()
        ),
    ],
)  # fmt: skip
def test_a_run_past_the_table_of_positions_fails_as_foretold(kind, most):
    made = tiny(kind, **({"max_seq_len": 64} if kind == "mpt" else {}))
    shapes = [Shape(batch_size=1, input_tokens=(most or 256) - 1, output_tokens=new) for new in (2, 3)]
    longest, longer = (cost.cannot_run for cost in estimator().estimate(spec(made), shapes))
    assert longest is None
    executed(made, shapes[0])
    if most is None:
        assert longer is None
        executed(made, shapes[1])
    else:
        assert f"at most {most + 1} together" in longer
        with pytest.raises((IndexError, RuntimeError)):
            executed(made, shapes[1])


def test_the_positions_of_a_model_with_its_own_code_are_unlimited():
    model = spec(tiny("gpt2"))
    read = model_config.read(model)
    known, own = (count._inspect(model, replace(read, trust_remote_code=trusted)) for trusted in (False, True))
    assert known.positions == 256
    assert own.positions is None
