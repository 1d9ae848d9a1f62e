"""Published figures, by the closed form on real configs: nothing is computed, so sizes do not matter."""

import pytest
from test_costs import LLAMA_2, SIZES
from tiny import tiny

from workers.flops import blueprint, by_architecture, config
from workers.flops.twin import Twin
from workers.records import ModelSpec


def drawn(fields):
    read = config.read(ModelSpec(name="m", config=fields))
    return blueprint.of_twin(read, Twin(read).model)


PYTHIA = {
    "model_type": "gpt_neox",
    "vocab_size": 50304,
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 8192,
}
BLOOM = {"model_type": "bloom", "vocab_size": 250880, "hidden_size": 4096, "n_layer": 30, "n_head": 32}


@pytest.mark.parametrize(
    ("fields", "logits", "gflops"),
    [({**LLAMA_2, **SIZES["7B"]}, 128, 1700.06), (PYTHIA, 0, 312.54), (BLOOM, 0, 1550.39)],
    ids=["Llama-2-7B", "pythia-1.4b", "bloom-7b1"],
)
def test_a_forward_pass_has_the_flops_of_calflops_own_table(fields, logits, gflops):
    """calflops' README, "Common model calculate flops": batch 1, 128 tokens.

    Llama was counted with its LM head at all positions; the parameters in the table say that the others had none.
    """
    forward = by_architecture.forward(drawn(fields), new=128, cached=0, logits=logits)
    assert forward == pytest.approx(gflops * 1e9, rel=0.01)


def test_the_share_of_attention_is_that_of_maxtexts_table():
    """MaxText's table for Llama-2-7B at 8,192 tokens: 422.21 of 1,721.22 TFLOPs, before it halved for causality."""
    llama = drawn({**LLAMA_2, **SIZES["7B"]})
    whole = by_architecture.forward(llama, new=8192, cached=0, logits=8192)
    share = by_architecture.attention(llama, new=8192, cached=0) / whole
    assert share == pytest.approx(422.21 / 1721.22, rel=0.01)


def test_modernberts_layers_are_read_though_its_decoder_is_its_lm_head():
    read = config.ModelConfig(config=tiny("modernbert-decoder"))
    model = Twin(read).model
    layer = 4 * 64 * 64 + 3 * 64 * 96
    head = 64 * 64 + 99 * 64
    sizes, products = blueprint.sizes_of_twin(read, model), blueprint.of_twin(read, model)
    assert (sizes.read, sizes.read_quantised) == (2 * layer + head, 2 * layer)
    assert (products.per_token, products.head) == (2 * layer, head)


def test_an_lm_head_within_the_decoder_is_counted_once():
    read = config.ModelConfig(config=tiny("llama4_text"))
    model = Twin(read).model
    layers = sum(p.numel() for name, p in model.named_parameters() if "layers" in name and p.ndim == 2)
    experts = sum(p.numel() for name, p in model.named_parameters() if "layers" in name and p.ndim == 3)
    assert blueprint.sizes_of_twin(read, model).read == layers + experts * 2 / 8 + 99 * 64


def test_dbrx_reads_of_its_experts_those_that_are_chosen():
    read = config.ModelConfig(config=tiny("dbrx"))
    sizes = blueprint.sizes_of_twin(read, Twin(read).model)
    expert = 3 * 64 * 96
    others = 2 * (8 * 64 + 64 * (64 + 2 * 2 * 16) + 64 * 64) + 99 * 64
    assert sizes.read == others + 2 * 2 * expert
    assert sizes.active == sizes.parameters - 2 * 6 * expert


@pytest.mark.parametrize(("kind", "most"), [("prophetnet", 254), ("xlm", 255), ("gpt2", 256)])
def test_rows_of_the_table_of_positions_that_a_model_takes_for_itself_are_no_tokens(kind, most):
    assert blueprint.positions(Twin(config.ModelConfig(config=tiny(kind))).model) == most
