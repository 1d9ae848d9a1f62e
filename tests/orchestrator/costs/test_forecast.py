"""Forecasts against a dispatcher's count of the same model, built by transformers."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.costs.cards import CARDS, RAY_CARDS
from orchestrator.costs.forecast import forecast
from orchestrator.costs.outline import FAMILIES
from workers.records import Cell, ModelSpec
from workers.records.errors import MeasureError, ModelLoadError

SMALL = {"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
GATED = SMALL | {"intermediate_size": 160, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0}
GPT = {"vocab_size": 512, "n_embd": 64, "n_layer": 3, "n_head": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": GPT,
    "gptj": GPT | {"rotary_dim": 8},
    "gpt_bigcode": GPT,
    "bloom": {"vocab_size": 512, "hidden_size": 64, "n_layer": 3, "n_head": 4},
    "opt": SMALL | {"ffn_dim": 256, "word_embed_proj_dim": 64},
    "gpt_neox": SMALL | {"intermediate_size": 256},
    "phi": SMALL | {"intermediate_size": 256},
    "mixtral": GATED | {"num_local_experts": 4, "num_experts_per_tok": 2},
}


def cell(config: dict[str, Any], **changes: Any) -> Cell:
    settings = {"precision": "bf16", "batch_size": 4, "input_tokens": 24, "output_tokens": 6, **changes}
    return Cell(model=ModelSpec(name=str(config.get("model_type")), config=config), **settings)


def counted(one: Cell) -> tuple[float, float]:
    """A dispatcher's count of a cell's FLOPs, and the memory of its weights and cache. Units: FLOP, MB (10^6 bytes)."""
    from orchestrator.costs.counting import by_dispatcher, inspection, model_config
    from orchestrator.costs.counting.meta_model import MetaModel
    from orchestrator.costs.counting.passes import Passes
    from workers.records import Shape

    shape = Shape(batch_size=4, input_tokens=one.input_tokens, output_tokens=one.output_tokens, precision="bf16")
    model = model_config.read(one.model)
    meta = MetaModel(model)
    passes = Passes(by_dispatcher.counter(meta), [shape], model.breakpoints)
    elements = inspection.sizes_of(model, meta.model).parameters + passes.final_cache(shape)
    return passes.flops(shape), 2 * elements / 1e6


KV = "num_key_value_heads"
NOT_READ: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {"intermediate_size": 100, "head_dim": 32}),
    ("gptj", {"intermediate_size": 100, KV: 1}),
    ("gpt_bigcode", {"intermediate_size": 100, KV: 2}),
    ("gpt_bigcode", {"multi_query": False, KV: 2}),
    ("bloom", {"intermediate_size": 100, "n_inner": 100, KV: 1}),
    ("opt", {"intermediate_size": 100, KV: 1, "n_positions": 4}),
    ("gpt_neox", {"n_inner": 100, KV: 1, "n_layer": 7}),
    ("llama", {"ffn_dim": 100, "num_local_experts": 4, "num_experts_per_tok": 2, "n_embd": 128}),
    ("qwen2", {"use_sliding_window": False, "sliding_window": 8}),
    ("qwen3", {"sliding_window": 8}),
]
"""Fields that other architectures read, but not these."""
READ: list[tuple[str, dict[str, Any]]] = [
    ("phi3", {"original_max_position_embeddings": 26}),
    ("gpt2", {"n_inner": 100, "num_hidden_layers": 5}),
    ("bloom", {"n_embed": 128}),
    ("mixtral", {"num_experts": 8}),
    ("qwen2", {"hidden_size": 66, "layer_types": ["full_attention"] * 3}),
]
"""Fields of one architecture, including the name that takes precedence if a config has two."""


@pytest.mark.parametrize(("model_type", "changes"), [*((model_type, {}) for model_type in FAMILIES), *NOT_READ, *READ])
def test_a_medium_figure_is_within_5_percent_of_the_dispatcher(model_type: str, changes: dict[str, Any]) -> None:
    one = cell({"model_type": model_type} | CONFIGS.get(model_type, GATED) | changes)
    flops, memory_mb = counted(one)
    (cost,) = forecast([one])
    assert cost.flops is not None, cost.flops_reason
    assert cost.flops.confidence == "medium"
    assert cost.flops.value == pytest.approx(flops, rel=0.05)
    assert cost.memory_mb == pytest.approx(memory_mb, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["mistral", "mixtral", "phi3", "starcoder2", "gemma2", "gemma3_text"])
def test_use_sliding_window_has_no_effect_in_a_family_that_does_not_read_it(model_type: str) -> None:
    windowed = {"sliding_window": 4, "use_sliding_window": False, "head_dim": 256}  # wide: attention is most of it
    one = cell(
        {"model_type": model_type} | CONFIGS.get(model_type, GATED) | windowed, input_tokens=24, output_tokens=16
    )
    (cost,) = forecast([one])
    assert cost.flops is not None, cost.flops_reason
    assert cost.flops.value > 1.05 * counted(one)[0]
    assert cost.flops.confidence == "low"


@pytest.mark.parametrize(
    ("model_type", "changes", "message"),
    [
        ("llama", {KV: ".nan"}, f"config.{KV}: '.nan' is not a whole number"),
        ("llama", {KV: 2.0}, f"config.{KV}: 2.0 is not a whole number"),
        ("llama", {KV: "1"}, f"config.{KV}: '1' is not a whole number"),
        ("llama", {"vocab_size": True}, "config.vocab_size: True is not a whole number"),
        ("llama", {"hidden_size": ".inf"}, "config.hidden_size: '.inf' is not a whole number"),
        (
            "llama",
            {"hidden_size": 66},
            "config.hidden_size: 66 is not a multiple of the 4 attention heads; use 64",
        ),
        ("llama", {"head_dim": "32"}, "config.head_dim: '32' is not a whole number"),
        ("llama", {"head_dim": 0}, "config.head_dim: 0 is not a valid size"),
        ("qwen2", {"head_dim": None}, "config.head_dim: null is not a valid size"),
        ("llama", {"tie_word_embeddings": "no"}, "config.tie_word_embeddings: 'no' is neither true nor false"),
        (
            "llama",
            {"pad_token_id": 512},
            "config.pad_token_id: 512 is outside the vocabulary of 512 tokens; use at most 511",
        ),
        (
            "phi3",
            {"original_max_position_embeddings": None},
            "config.original_max_position_embeddings: null is not a whole",
        ),
        ("llama", {"max_position_embeddings": "64"}, "config.max_position_embeddings: '64' is not a whole number"),
        ("qwen2", {"sliding_window": 8.0}, "config.sliding_window: 8.0 is not a whole number"),
        ("llama", {"layer_types": ["full_attention"]}, "config.layer_types: 1 entries for 3 layers"),
        ("llama", {"layer_types": "full_attention"}, "config.layer_types: not a list; give a list of 3 entries"),
    ],
)
def test_a_config_that_transformers_refuses_has_no_figures(
    model_type: str, changes: dict[str, Any], message: str
) -> None:
    from orchestrator.costs.counting import model_config
    from orchestrator.costs.counting.meta_model import MetaModel

    one = cell({"model_type": model_type} | GATED | changes)
    with pytest.raises((ModelLoadError, TypeError, ArithmeticError, AssertionError)):  # while it is read, or built
        MetaModel(model_config.read(one.model))
    (cost,) = forecast([one])
    assert cost.flops is None
    assert cost.flops_reason is not None
    assert message in cost.flops_reason


LLAMA = {"model_type": "llama"} | GATED


@pytest.mark.parametrize(("model_type", "field"), [("gpt2", "n_positions"), ("gptj", "n_positions"), ("opt", None)])
def test_a_cell_past_the_positions_of_a_model_cannot_run(model_type: str, field: str | None) -> None:
    config = {"model_type": model_type} | CONFIGS[model_type] | ({field: 64} if field else {})
    most = 64 if field else 2048
    longest, longer = forecast([cell(config, input_tokens=most - 4, output_tokens=new) for new in (5, 6)])
    assert longest.cannot_run is None
    assert f"at most {most + 1} together" in str(longer.cannot_run)
    assert forecast([cell(LLAMA, input_tokens=10_000)])[0].cannot_run is None


def test_an_impossible_config_has_no_figures() -> None:
    (cost,) = forecast([cell(LLAMA | {"num_key_value_heads": 3})])
    assert cost.flops is None
    assert cost.flops_reason == (
        "config.num_key_value_heads: 3 does not divide the 4 attention heads; the nearest divisor is 2"
    )


def test_a_sliding_window_or_an_uncounted_option_makes_the_figure_low() -> None:
    windowed = cell({"model_type": "mistral", "sliding_window": 16} | GATED)
    guided = cell(LLAMA, generate={"guidance_scale": 2.0})
    assert [one.flops and one.flops.confidence for one in forecast([windowed, guided, cell(LLAMA)])] == [
        "low", "low", "medium",
    ]  # fmt: skip


def test_beams_multiply_the_flops() -> None:
    one, four = forecast([cell(LLAMA), cell(LLAMA, generate={"num_beams": 4})])
    assert one.flops is not None and four.flops is not None  # noqa: PT018 - for the type checker
    assert (four.flops.value, four.flops.confidence) == (pytest.approx(4 * one.flops.value), "medium")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (ModelSpec(name="m", config={"model_type": "mamba"}), "no closed form for model type 'mamba'"),
        (ModelSpec(name="m", config={"model_type": "llama"}), "does not set hidden_size: default unknown"),
        (
            ModelSpec(name="m", config={"model_type": "qwen3"} | SMALL),
            "does not set num_key_value_heads, head_dim: default",
        ),
        (ModelSpec(name="m", source="org/never-fetched"), "config of 'org/never-fetched' is not on this disk"),
    ],
)
def test_an_unknown_figure_is_null_with_its_reason(model: ModelSpec, reason: str) -> None:
    (cost,) = forecast([Cell(model=model, precision="fp32")])
    assert (cost.flops, cost.memory_mb, cost.fits, cost.predicted_s) == (None, None, None, None)
    assert cost.flops_reason is not None
    assert reason in cost.flops_reason


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("mistral", {"sliding_window": 0}),
        ("gemma2", {"sliding_window": None}),
        ("qwen2", {"sliding_window": 8, "layer_types": ["sliding_attention"] * 3}),
        ("llama", {"layer_types": ["linear_attention"] * 3}),
        ("gpt2", {"n_inner": 0}),
        ("llama", {"is_encoder_decoder": True}),
    ],
)
def test_a_model_that_can_be_built_but_not_run_has_no_figures(model_type: str, changes: dict[str, Any]) -> None:
    one = cell({"model_type": model_type} | CONFIGS.get(model_type, GATED) | changes)
    with pytest.raises((MeasureError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)):
        counted(one)
    assert forecast([one])[0].flops is None


@pytest.mark.parametrize("model_type", ["t5", "llava", "clip"])
def test_a_model_that_is_not_a_causal_language_model_cannot_run(model_type: str) -> None:
    (cost,) = forecast([cell({"model_type": model_type})])
    assert cost.cannot_run == f"{model_type!r} is not a causal language model; only causal language models are measured"
    assert cost.flops_reason == cost.cannot_run
    assert forecast([cell({"model_type": "mamba"})])[0].cannot_run is None


@pytest.mark.parametrize(("name", "value"), [("batch_size", 1_000_001), ("input_tokens", 10**8 + 1)])
def test_a_shape_that_is_too_large_to_count_has_no_figures(name: str, value: int) -> None:
    (cost,) = forecast([cell(LLAMA, **{name: value})])
    assert (cost.flops, cost.memory_mb) == (None, None)
    assert f"{name}: {value} is too large to count; at most {value - 1}" in str(cost.flops_reason)


def test_a_model_with_its_own_code_has_no_figures_if_the_code_is_trusted() -> None:
    config = LLAMA | {"auto_map": {"AutoModelForCausalLM": "modeling.Own"}}
    model = ModelSpec(name="m", config=config, trust_remote_code=True)
    trusted, untrusted = forecast([Cell(model=model, precision="bf16"), cell(config)])
    assert "comes with its own code" in str(trusted.flops_reason)
    assert untrusted.flops is not None


def test_the_config_of_a_local_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    local = ModelSpec(name="l", source=str(tmp_path), fingerprint="0" * 64)
    assert forecast([Cell(model=local, precision="bf16")]) == forecast(
        [Cell(model=cell(LLAMA).model, precision="bf16")]
    )


def test_the_config_of_a_fetched_hub_model_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    commit = "1" * 40
    model = tmp_path / "models--org--fetched"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    (model / "snapshots" / commit).mkdir(parents=True)
    (model / "snapshots" / commit / "config.json").write_text(json.dumps(LLAMA))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (cost,) = forecast([Cell(model=ModelSpec(name="f", source="org/fetched"), precision="bf16")])
    assert cost.flops is not None, cost.flops_reason


LARGE = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672,
    "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
}  # fmt: skip


def test_a_70b_model_fits_four_80_gb_cards_but_not_one() -> None:
    one, four = forecast([cell(LARGE), cell(LARGE, tensor_parallel=4)], "H100")
    assert (one.fits, four.fits) == (False, True)
    assert one.memory_mb == pytest.approx(141_107, rel=0.01)  # 70.55e9 parameters in bf16
    logits_mb = 4 * 128256 * (2 + 4 + 4) / 1e6  # each split gathers them all
    assert one.memory_mb - logits_mb == pytest.approx(4 * ((four.memory_mb or 0) - logits_mb))


def test_a_batch_whose_logits_exceed_the_memory_of_the_card_does_not_fit() -> None:
    (cost,) = forecast([cell(LLAMA | {"vocab_size": 128_000}, precision="fp32", batch_size=128_000)], "H100")
    assert cost.fits is False
    assert (cost.memory_mb or 0) > 128_000 * 128_000 * 4 / 1e6


def test_the_minimum_time_is_bounded_by_reading_the_weights() -> None:
    (cost,) = forecast([cell(LARGE, batch_size=1, output_tokens=100)], "H200")
    read_s = (70.55e9 - 128256 * 8192) * 2 / 4.8e12
    assert cost.predicted_s == pytest.approx((1 + 3) * 100 * read_s, rel=0.01)


def test_4_bit_weights_take_about_a_quarter_of_the_memory_of_16_bit_ones() -> None:
    plain, four_bits = forecast([cell(LARGE), cell(LARGE, precision="int4-bnb")])
    assert (four_bits.memory_mb or 0) / (plain.memory_mb or 1) == pytest.approx(0.30, abs=0.02)


def test_without_a_known_card_there_is_no_fit_and_no_time() -> None:
    (unknown,) = forecast([cell(LARGE)])
    (pinned,) = forecast([cell(LARGE, accelerator_type="A100-80G")])
    (other,) = forecast([cell(LARGE)], "RTX1")
    (cpu,) = forecast([cell(LARGE, device="cpu")], "H100")
    assert (unknown.fits, unknown.predicted_s, unknown.card_reason) == (None, None, "name the card with --card")
    assert pinned.fits is False
    assert "no datasheet figures for 'RTX1'" in (other.card_reason or "")
    assert cpu.fits is None
    assert "CPU" in (cpu.card_reason or "")


def test_every_card_that_ray_names_is_in_the_table_of_cards() -> None:
    assert set(RAY_CARDS.values()) <= set(CARDS)
