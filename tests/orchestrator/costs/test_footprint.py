"""Memory of weights and logits, with numbers worked out by hand."""

from typing import Any

import pytest

from orchestrator.costs.footprint import element_bytes, logits_bytes, weight_bytes
from workers.records import PRECISIONS, Precision

BYTES_OF_1000_WEIGHTS: dict[Precision, float] = {
    "fp32": 1000 * 4,
    "tf32": 1000 * 4,
    "fp16": 1000 * 2,
    "bf16": 1000 * 2,
    "int8-bnb": 200 * 2 + 800 * 1,
    "int4-bnb": 200 * 2 + 800 * 0.5625,  # NF4: 4 bits, and a 32-bit scale per 64 weights
    "int8-torchao": 200 * 2 + 800 * 1,
    "fp8-torchao": 200 * 2 + 800 * 1,
}
"""800 of the 1000 weights are in linear layers."""


@pytest.mark.parametrize(("precision", "expected"), BYTES_OF_1000_WEIGHTS.items())
def test_only_weights_in_linear_layers_shrink_with_the_precision(precision: Precision, expected: float) -> None:
    assert weight_bytes(1000, 800, precision) == pytest.approx(expected)


def test_every_precision_has_a_number_worked_out_by_hand() -> None:
    assert set(BYTES_OF_1000_WEIGHTS) == set(PRECISIONS)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("fp32", 4), ("tf32", 4), ("fp16", 2), ("bf16", 2), ("int8-bnb", 2), ("int4-bnb", 2), ("fp8-torchao", 2)],
)
def test_an_element_that_is_not_quantised_has_the_size_of_the_compute_type(
    precision: Precision, expected: float
) -> None:
    assert element_bytes(precision) == expected


@pytest.mark.parametrize(
    ("precision", "steps", "generate", "bytes_per_logit"),
    [
        ("bf16", 1, {}, 2 + 4),  # the model's own, and a 32-bit copy
        ("bf16", 2, {}, 2 + 4 + 4),  # and the previous pass's copy
        ("bf16", 500, {}, 2 + 4 + 4),
        ("fp32", 2, {}, 4 + 4 + 4),
        ("int4-bnb", 2, {}, 2 + 4 + 4),
        ("bf16", 2, {"top_p": 0.9}, 2 + 4 + 4),  # no sampling: the option has no effect
        ("bf16", 2, {"do_sample": True, "top_k": 0}, 10 + 4),  # probabilities
        ("bf16", 2, {"do_sample": True}, 10 + 4 + 4),  # and filtered scores, by the default top_k
        ("bf16", 2, {"do_sample": True, "top_k": 0, "temperature": 0.7}, 10 + 4 + 4),
        ("bf16", 2, {"do_sample": True, "top_k": 0, "top_p": 1}, 10 + 4),
        ("bf16", 2, {"do_sample": True, "top_p": 0.9}, 10 + 4 + 4 + 4 + 8 + 4 + 4),  # sorted, indices, softmax, sum
    ],
)
def test_logits_take_their_copies_and_those_of_sampling(
    precision: Precision, steps: int, generate: dict[str, Any], bytes_per_logit: float
) -> None:
    assert logits_bytes(3, 1000, precision, steps=steps, generate=generate) == 3 * 1000 * bytes_per_logit
