"""Costs on paper against a dispatcher's count of the same model, built by transformers."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.forecast import CARDS, FAMILIES, forecast
from workers.errors import MeasureError, ModelLoadError
from workers.records import Cell, ModelSpec

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
    from workers.flops import Shape, blueprint, by_dispatcher, config
    from workers.flops.passes import Passes
    from workers.flops.twin import Twin

    shape = Shape(batch_size=4, input_tokens=one.input_tokens, output_tokens=one.output_tokens, precision="bf16")
    model = config.read(one.model)
    twin = Twin(model)
    passes = Passes(by_dispatcher.counter(twin), [shape], model.breakpoints)
    elements = blueprint.sizes_of_twin(model, twin.model).parameters + passes.final_cache(shape)
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
"""Fields that other architectures read, and these do not."""
READ: list[tuple[str, dict[str, Any]]] = [
    ("phi3", {"original_max_position_embeddings": 26}),
    ("gpt2", {"n_inner": 100, "num_hidden_layers": 5}),
    ("bloom", {"n_embed": 128}),
    ("mixtral", {"num_experts": 8}),
    ("qwen2", {"hidden_size": 66, "layer_types": ["full_attention"] * 3}),
]
"""Fields of their own, with the name that goes before where a config has both."""


@pytest.mark.parametrize(("kind", "changes"), [*((kind, {}) for kind in FAMILIES), *NOT_READ, *READ])
def test_a_figure_called_medium_is_within_five_per_cent_of_the_dispatcher(kind: str, changes: dict[str, Any]) -> None:
    one = cell({"model_type": kind} | CONFIGS.get(kind, GATED) | changes)
    flops, memory_mb = counted(one)
    (paper,) = forecast([one])
    assert paper.flops is not None, paper.flops_reason
    assert paper.flops.confidence == "medium"
    assert paper.flops.value == pytest.approx(flops, rel=0.05)
    assert paper.memory_mb == pytest.approx(memory_mb, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mistral", "mixtral", "phi3", "starcoder2", "gemma2", "gemma3_text"])
def test_a_switch_that_a_family_does_not_read_turns_no_window_off(kind: str) -> None:
    windowed = {"sliding_window": 4, "use_sliding_window": False, "head_dim": 256}  # wide: attention is most of it
    one = cell({"model_type": kind} | CONFIGS.get(kind, GATED) | windowed, input_tokens=24, output_tokens=16)
    (paper,) = forecast([one])
    assert paper.flops is not None, paper.flops_reason
    assert paper.flops.value > 1.05 * counted(one)[0]
    assert paper.flops.confidence == "low"


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("llama", {KV: ".nan"}, f"config.{KV}: '.nan' is no whole number"),
        ("llama", {KV: 2.0}, f"config.{KV}: 2.0 is no whole number"),
        ("llama", {KV: "1"}, f"config.{KV}: '1' is no whole number"),
        ("llama", {"vocab_size": True}, "config.vocab_size: True is no whole number"),
        ("llama", {"hidden_size": ".inf"}, "config.hidden_size: '.inf' is no whole number"),
        (
            "llama",
            {"hidden_size": 66},
            "config.hidden_size: 66 is no multiple of the 4 attention heads; the nearest is 64",
        ),
        ("llama", {"head_dim": "32"}, "config.head_dim: '32' is no whole number"),
        ("llama", {"head_dim": 0}, "config.head_dim: 0 is no size"),
        ("qwen2", {"head_dim": None}, "config.head_dim: null is no size"),
        ("llama", {"tie_word_embeddings": "no"}, "config.tie_word_embeddings: 'no' is neither true nor false"),
        ("llama", {"pad_token_id": 512}, "config.pad_token_id: 512 is none of the 512 tokens; the nearest is 511"),
        (
            "phi3",
            {"original_max_position_embeddings": None},
            "config.original_max_position_embeddings: null is no whole",
        ),
        ("llama", {"max_position_embeddings": "64"}, "config.max_position_embeddings: '64' is no whole number"),
        ("qwen2", {"sliding_window": 8.0}, "config.sliding_window: 8.0 is no whole number"),
        ("llama", {"layer_types": ["full_attention"]}, "config.layer_types: 1 entries for 3 layers"),
    ],
)
def test_what_transformers_refuses_has_no_figure(kind: str, changes: dict[str, Any], words: str) -> None:
    from workers.flops import config
    from workers.flops.twin import Twin

    one = cell({"model_type": kind} | GATED | changes)
    with pytest.raises((ModelLoadError, TypeError, ArithmeticError, AssertionError)):  # while it is read, or built
        Twin(config.read(one.model))
    (paper,) = forecast([one])
    assert paper.flops is None
    assert paper.flops_reason is not None
    assert words in paper.flops_reason


LLAMA = {"model_type": "llama"} | GATED


@pytest.mark.parametrize(("kind", "field"), [("gpt2", "n_positions"), ("gptj", "n_positions"), ("opt", None)])
def test_a_cell_past_the_positions_of_a_model_cannot_run(kind: str, field: str | None) -> None:
    config = {"model_type": kind} | CONFIGS[kind] | ({field: 64} if field else {})
    most = 64 if field else 2048
    longest, longer = forecast([cell(config, input_tokens=most - 4, output_tokens=new) for new in (5, 6)])
    assert longest.cannot_run is None
    assert f"at most {most + 1} together" in str(longer.cannot_run)
    assert forecast([cell(LLAMA, input_tokens=10_000)])[0].cannot_run is None


def test_a_config_of_no_model_has_no_figure() -> None:
    (refused,) = forecast([cell(LLAMA | {"num_key_value_heads": 3})])
    assert refused.flops is None
    assert refused.flops_reason == (
        "config.num_key_value_heads: 3 does not divide the 4 attention heads; the nearest that does is 2"
    )


def test_what_a_window_or_an_option_bends_is_called_low() -> None:
    windowed = cell({"model_type": "mistral", "sliding_window": 16} | GATED)
    guided = cell(LLAMA, generate={"guidance_scale": 2.0})
    assert [one.flops and one.flops.confidence for one in forecast([windowed, guided, cell(LLAMA)])] == [
        "low", "low", "medium",
    ]  # fmt: skip


def test_beams_multiply_what_is_computed_and_cached() -> None:
    one, four = forecast([cell(LLAMA), cell(LLAMA, generate={"num_beams": 4})])
    assert one.flops is not None and four.flops is not None  # noqa: PT018 - for the type checker
    assert (four.flops.value, four.flops.confidence) == (pytest.approx(4 * one.flops.value), "medium")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (ModelSpec(name="m", config={"model_type": "mamba"}), "no closed form for 'mamba'"),
        (ModelSpec(name="m", config={"model_type": "llama"}), "leaves hidden_size to transformers' default"),
        (ModelSpec(name="m", config={"model_type": "qwen3"} | SMALL), "leaves num_key_value_heads, head_dim to"),
        (ModelSpec(name="m", source="org/never-fetched"), "config of 'org/never-fetched' is not on this disk"),
    ],
)
def test_what_cannot_be_told_on_paper_is_null_with_its_reason(model: ModelSpec, reason: str) -> None:
    (paper,) = forecast([Cell(model=model, precision="fp32")])
    assert (paper.flops, paper.memory_mb, paper.fits, paper.predicted_s) == (None, None, None, None)
    assert paper.flops_reason is not None
    assert reason in paper.flops_reason


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("mistral", {"sliding_window": 0}),
        ("gemma2", {"sliding_window": None}),
        ("qwen2", {"sliding_window": 8, "layer_types": ["sliding_attention"] * 3}),
        ("llama", {"layer_types": ["linear_attention"] * 3}),
        ("gpt2", {"n_inner": 0}),
        ("llama", {"is_encoder_decoder": True}),
    ],
)
def test_what_is_built_and_cannot_compute_has_no_figure(kind: str, changes: dict[str, Any]) -> None:
    one = cell({"model_type": kind} | CONFIGS.get(kind, GATED) | changes)
    with pytest.raises((MeasureError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)):
        counted(one)
    assert forecast([one])[0].flops is None


@pytest.mark.parametrize("kind", ["t5", "llava", "clip"])
def test_no_run_of_what_is_no_causal_language_model_can_succeed(kind: str) -> None:
    (paper,) = forecast([cell({"model_type": kind})])
    assert paper.cannot_run == f"{kind!r} is no causal language model; only causal language models are measured"
    assert paper.flops_reason == paper.cannot_run
    assert forecast([cell({"model_type": "mamba"})])[0].cannot_run is None


@pytest.mark.parametrize(("name", "value"), [("batch_size", 1_000_001), ("input_tokens", 10**8 + 1)])
def test_a_shape_that_estimate_does_not_count_has_no_figure(name: str, value: int) -> None:
    (paper,) = forecast([cell(LLAMA, **{name: value})])
    assert (paper.flops, paper.memory_mb) == (None, None)
    assert f"{name}: {value} is more than is counted; at most {value - 1}" in str(paper.flops_reason)


def test_code_of_the_models_own_is_not_taken_for_that_of_transformers() -> None:
    config = LLAMA | {"auto_map": {"AutoModelForCausalLM": "modeling.Own"}}
    trusted = ModelSpec(name="m", config=config, trust_remote_code=True)
    theirs, ours = forecast([Cell(model=trusted, precision="bf16"), cell(config)])
    assert "comes with its own code" in str(theirs.flops_reason)
    assert ours.flops is not None


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
    (paper,) = forecast([Cell(model=ModelSpec(name="f", source="org/fetched"), precision="bf16")])
    assert paper.flops is not None, paper.flops_reason


LARGE = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672,
    "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
}  # fmt: skip


def test_seventy_billion_fit_on_four_cards_of_eighty_gigabytes_and_not_on_one() -> None:
    one, four = forecast([cell(LARGE), cell(LARGE, tensor_parallel=4)], "H100")
    assert (one.fits, four.fits) == (False, True)
    assert one.memory_mb == pytest.approx(141_107, rel=0.01)  # 70.55e9 parameters in bf16
    logits_mb = 4 * 128256 * (2 + 4 + 4) / 1e6  # each split gathers them all
    assert one.memory_mb - logits_mb == pytest.approx(4 * ((four.memory_mb or 0) - logits_mb))


def test_a_batch_whose_logits_alone_are_more_than_the_card_has_does_not_fit() -> None:
    (paper,) = forecast([cell(LLAMA | {"vocab_size": 128_000}, precision="fp32", batch_size=128_000)], "H100")
    assert paper.fits is False
    assert (paper.memory_mb or 0) > 128_000 * 128_000 * 4 / 1e6


def test_time_is_bounded_by_reading_the_weights() -> None:
    (paper,) = forecast([cell(LARGE, batch_size=1, output_tokens=100)], "H200")
    read_s = (70.55e9 - 128256 * 8192) * 2 / 4.8e12
    assert paper.predicted_s == pytest.approx((1 + 3) * 100 * read_s, rel=0.01)


def test_a_quarter_of_the_bits_takes_about_a_quarter_of_the_memory() -> None:
    plain, four_bits = forecast([cell(LARGE), cell(LARGE, precision="int4-bnb")])
    assert (four_bits.memory_mb or 0) / (plain.memory_mb or 1) == pytest.approx(0.30, abs=0.02)


def test_without_a_card_there_is_memory_but_no_fit_and_no_time() -> None:
    (unknown,) = forecast([cell(LARGE)])
    (pinned,) = forecast([cell(LARGE, accelerator_type="A100-80G")])
    (odd,) = forecast([cell(LARGE)], "RTX1")
    (cpu,) = forecast([cell(LARGE, device="cpu")], "H100")
    assert (unknown.fits, unknown.predicted_s, unknown.card_reason) == (None, None, "name the card with --card")
    assert pinned.fits is False
    assert "no datasheet of 'RTX1' here" in (odd.card_reason or "")
    assert cpu.fits is None
    assert "CPU" in (cpu.card_reason or "")


def test_every_named_peak_is_in_the_table_of_peaks() -> None:
    from workers.flops import peak

    assert all(peak(card.nvml_name) for card in CARDS.values() if card.nvml_name)
