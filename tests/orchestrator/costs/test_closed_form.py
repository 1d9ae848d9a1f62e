"""Published figures against the closed form on real configs. Nothing is computed, so large models are cheap."""

import pytest

from orchestrator.costs import closed_form
from orchestrator.costs.counting import inspection, model_config
from orchestrator.costs.counting.meta_model import MetaModel
from testbed.tiny import tiny
from tests.support.llamas import LLAMA_2, SIZES
from workers.records import ModelSpec


def architecture(fields):
    read = model_config.read(ModelSpec(name="m", config=fields))
    return inspection.architecture_of(read, MetaModel(read).model)


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
def test_flops_of_a_forward_pass_match_the_table_in_calflops_readme(fields, logits, gflops):
    """calflops' README, "Common model calculate flops": batch 1, 128 tokens.

    Llama was counted with its LM head at all positions; the others, by their parameters in the table, without one.
    """
    forward = closed_form.forward(architecture(fields), new=128, cached=0, logits=logits)
    assert forward == pytest.approx(gflops * 1e9, rel=0.01)


def test_the_share_of_attention_matches_maxtexts_table():
    """MaxText's table for Llama-2-7B at 8,192 tokens: 422.21 of 1,721.22 TFLOPs, before it halved for causality."""
    llama = architecture({**LLAMA_2, **SIZES["7B"]})
    whole = closed_form.forward(llama, new=8192, cached=0, logits=8192)
    share = closed_form.attention(llama, new=8192, cached=0) / whole
    assert share == pytest.approx(422.21 / 1721.22, rel=0.01)


def test_modernberts_layers_are_found_although_its_decoder_is_its_lm_head():
    read = model_config.ModelConfig(config=tiny("modernbert-decoder"))
    model = MetaModel(read).model
    layer = 4 * 64 * 64 + 3 * 64 * 96
    head = 64 * 64 + 99 * 64
    sizes, products = inspection.sizes_of(read, model), inspection.architecture_of(read, model)
    assert (sizes.read, sizes.read_quantised) == (2 * layer + head, 2 * layer)
    assert (products.per_token, products.head) == (2 * layer, head)


def test_an_lm_head_inside_the_decoder_is_counted_once():
    read = model_config.ModelConfig(config=tiny("llama4_text"))
    model = MetaModel(read).model
    layers = sum(p.numel() for name, p in model.named_parameters() if "layers" in name and p.ndim == 2)
    experts = sum(p.numel() for name, p in model.named_parameters() if "layers" in name and p.ndim == 3)
    assert inspection.sizes_of(read, model).read == layers + experts * 2 / 8 + 99 * 64


def test_dbrx_reads_only_its_selected_experts():
    read = model_config.ModelConfig(config=tiny("dbrx"))
    sizes = inspection.sizes_of(read, MetaModel(read).model)
    expert = 3 * 64 * 96
    others = 2 * (8 * 64 + 64 * (64 + 2 * 2 * 16) + 64 * 64) + 99 * 64
    assert sizes.read == others + 2 * 2 * expert
    assert sizes.active == sizes.parameters - 2 * 6 * expert


@pytest.mark.parametrize(("model_type", "most"), [("prophetnet", 254), ("xlm", 255), ("gpt2", 256)])
def test_reserved_rows_of_a_table_of_positions_do_not_count_as_positions(model_type, most):
    assert inspection.positions(MetaModel(model_config.ModelConfig(config=tiny(model_type))).model) == most
