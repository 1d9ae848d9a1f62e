"""Costs on paper against a dispatcher's count of the same model, built by transformers."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.forecast import CARDS, FAMILIES, forecast
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


@pytest.mark.parametrize(
    ("kind", "changes"), [*((kind, {}) for kind in FAMILIES), ("phi3", {"original_max_position_embeddings": 26})]
)
def test_a_figure_called_medium_is_within_five_per_cent_of_the_dispatcher(kind: str, changes: dict[str, Any]) -> None:
    from workers.flops import Shape, blueprint, by_dispatcher, config
    from workers.flops.passes import Passes
    from workers.flops.twin import Twin

    one = cell({"model_type": kind} | CONFIGS.get(kind, GATED) | changes)
    shape = Shape(batch_size=4, input_tokens=24, output_tokens=6, precision="bf16")
    model = config.read(one.model)
    twin = Twin(model)
    counted = Passes(by_dispatcher.counter(twin), [shape], model.breakpoints)
    (paper,) = forecast([one])
    assert paper.flops is not None, paper.flops_reason
    assert paper.flops.confidence == "medium"
    assert paper.flops.value == pytest.approx(counted.flops(shape), rel=0.05)
    weights_and_cache = blueprint.sizes_of_twin(model, twin.model).parameters + counted.final_cache(shape)
    assert paper.memory_mb == pytest.approx(2 * weights_and_cache / 1e6, rel=0.1)


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
