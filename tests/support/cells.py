"""Cells so small that a test loads and measures one in a fraction of a second."""

from typing import Any

import pytest
import torch

from workers.records import Cell, ModelSpec, Quality, Run, TextPrompts, Warmup, Window

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 256,
}
GPT2: dict[str, Any] = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 300}
MIXTRAL: dict[str, Any] = {**LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}


def cell(config: dict[str, Any] | None = None, **fields: Any) -> Cell:
    """A cell of a tiny Llama on the CPU, with `fields` changed."""
    usual = {
        "precision": "fp32",
        "batch_size": 2,
        "input_tokens": 7,
        "output_tokens": 5,
        "device": "cpu",
        "warmup": Warmup(floor=1),
        "window": Window(min_generations=3, max_generations=3),
    }
    return Cell(model=ModelSpec(name="tiny", config=config or LLAMA), **{**usual, **fields})


def run(config: dict[str, Any] | None = None, *, repeat: int = 0, **fields: Any) -> Run:
    return Run(cell=cell(config, **fields), repeat=repeat)


TEXTS = {"d1": ("The cat sat on the mat.", "No.", "A third, rather longer text about nothing in particular.")}
PROMPTS = TextPrompts(sha256="d1", file="prompts.jsonl")
QUALITY = Quality(sha256="d1", file="text.txt", context_tokens=16, stride_tokens=5, max_tokens=60)
