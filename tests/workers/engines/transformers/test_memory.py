from typing import Any

import pytest
import torch

from orchestrator.costs.forecast import forecast
from tests.support.cells import LLAMA, cell
from workers.engines.transformers import Generator, load, memory, random_ids
from workers.prompts import random_prompts
from workers.records import Precision


def test_tied_and_shared_weights_count_once() -> None:
    layer = torch.nn.Linear(10, 20, bias=False)
    both = torch.nn.ModuleList([layer, torch.nn.Linear(10, 20, bias=False)])
    both[1].weight = layer.weight
    assert memory.model_bytes(both) == 10 * 20 * 4


def test_buffers_count() -> None:
    layer = torch.nn.Linear(10, 20, bias=False)
    layer.register_buffer("table", torch.zeros(7, dtype=torch.float64))
    assert memory.model_bytes(layer) == 10 * 20 * 4 + 7 * 8


def linear_elements() -> int:
    """Weights of the linear layers of the tiny Llama: q, k, v, o and the three of the feed-forward, in two layers."""
    hidden, inner = LLAMA["hidden_size"], LLAMA["intermediate_size"]
    return 2 * (hidden * hidden * 3 + 3 * hidden * inner)


def rows() -> int:
    """Output features of those layers: one scale each."""
    hidden, inner = LLAMA["hidden_size"], LLAMA["intermediate_size"]
    return 2 * (hidden * 3 + 2 * inner + hidden)


def packed_saving(precision: Precision) -> int:
    plain = memory.model_bytes(load(cell(precision="bf16")).model)
    return plain - memory.model_bytes(load(cell(precision=precision)).model)


def test_int8_weights_count_one_byte_each_and_an_fp32_scale_per_row() -> None:
    assert packed_saving("int8-bnb") == linear_elements() - 4 * rows()


def test_int4_weights_count_half_a_byte_each_and_an_fp32_scale_per_block() -> None:
    # NF4: blocks of 64 share an fp32 maximum; each weight keeps its code book of 16 fp32 values
    assert packed_saving("int4-bnb") == int(1.5 * linear_elements()) - 4 * linear_elements() // 64 - 14 * 64


def test_peak_memory_includes_a_block_that_was_freed_before_the_end() -> None:
    peak = memory.PeakMemory(())
    peak.begin()
    before, method, reason = peak.end()
    assert (method, reason) == ("process_rss", None)
    torch.ones(50_000_000).sum()  # 200 MB, freed before the next line
    after, _, _ = peak.end()
    assert after - before > 150


def test_a_new_window_resets_the_peak() -> None:
    torch.ones(50_000_000).sum()
    peak = memory.PeakMemory(())
    high, _, _ = peak.end()
    peak.begin()
    assert peak.end()[0] < high - 150


@pytest.mark.parametrize(
    ("output_tokens", "generate"),
    [(1, {}), (3, {}), (3, {"do_sample": True, "top_p": 0.9})],
    ids=["one token", "greedy", "nucleus"],
)
def test_the_forecast_for_many_rows_and_a_large_vocabulary_matches_the_measured_memory(
    output_tokens: int, generate: dict[str, Any]
) -> None:
    large = {**LLAMA, "hidden_size": 16, "vocab_size": 100_000, "num_hidden_layers": 1, "intermediate_size": 32}
    large_cell = cell(large, batch_size=128, input_tokens=4, output_tokens=output_tokens, generate=generate)
    (forecasted,) = forecast([large_cell])
    loaded = load(large_cell)
    batch = random_prompts(rows=128, length=4, seed=0, **random_ids(loaded))
    generator = Generator(loaded, batch, output_tokens=output_tokens, options=generate)
    memory.trim()
    peak, before = memory.PeakMemory(()), memory.resident_bytes()
    assert before is not None
    peak.begin()
    generator.once()
    used_mb = (peak.end()[0] or 0) - before / memory.MB + memory.model_bytes(loaded.model) / memory.MB
    assert forecasted.memory_mb is not None
    assert 0.75 * used_mb < forecasted.memory_mb < 1.05 * used_mb
