"""The closed form and the options of `generate`, worked out by hand: no model is built."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.costs import closed_form
from orchestrator.costs.architecture import Architecture
from orchestrator.costs.options import sequences, uncounted

BY_HAND = Architecture(
    per_token=100.0, per_cached_token=3.0, head=50.0, head_at_every_position=False, scores=((10, None), (4, 5))
)
"""Multiplications per token, per token in the cache and per position of the logits; a full and a sliding layer."""


@pytest.mark.parametrize(
    ("new", "cached", "attention"),
    [
        (1, 0, 2 * 10 * 1 * 1 + 2 * 4 * 1 * 1),
        (3, 0, 2 * 10 * 3 * 3 + 2 * 4 * 3 * 3),
        (1, 2, 2 * 10 * 1 * 3 + 2 * 4 * 1 * 3),
        (3, 4, 2 * 10 * 3 * 7 + 2 * 4 * 3 * 5),  # the sliding layer's cache holds 5 tokens
        (9, 0, 2 * 10 * 9 * 9 + 2 * 4 * 9 * 9),  # eager attention fills the whole matrix at prefill
    ],
)
def test_a_pass_by_hand(new: int, cached: int, attention: float) -> None:
    assert closed_form.attention(BY_HAND, new=new, cached=cached) == attention
    linear = 2 * (new * 100 + (new + cached) * 3)
    assert closed_form.forward(BY_HAND, new=new, cached=cached) == linear + 2 * 50 + attention
    assert closed_form.forward(BY_HAND, new=new, cached=cached, logits=0) == linear + attention
    everywhere = replace(BY_HAND, head_at_every_position=True)
    assert closed_form.forward(everywhere, new=new, cached=cached) == linear + new * 2 * 50 + attention


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 1),
        ({"num_beams": 3}, 3),
        ({"num_beams": 4, "num_return_sequences": 2}, 4),
        ({"num_beams": 2, "num_return_sequences": 5}, 5),
        ({"num_beams": None, "num_return_sequences": "2"}, 1),
    ],
)
def test_a_prompt_becomes_its_beams_or_what_is_asked_back(options: dict[str, Any], expected: int) -> None:
    assert sequences(options) == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cache_implementation": "static"}, "cache_implementation"),
        ({"cache_implementation": "dynamic"}, None),
        ({"prefill_chunk_size": 11}, "prefill_chunk_size"),
        ({"prefill_chunk_size": 12}, None),
        ({"guidance_scale": 1.5}, "guidance_scale"),
        ({"guidance_scale": 1.0}, None),
        ({"guidance_scale": 0}, "guidance_scale"),
        ({"use_cache": False}, "use_cache"),
        ({"use_cache": True}, None),
        ({"dola_layers": "low"}, "dola_layers"),
        ({"penalty_alpha": 0}, None),
    ],
)
def test_an_option_that_changes_what_is_computed_is_named(options: dict[str, Any], words: str | None) -> None:
    reason = uncounted(options, input_tokens=12)
    assert reason is None if words is None else words in (reason or "")
