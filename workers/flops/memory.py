"""Memory of weights and logits on paper, at a precision."""

from collections.abc import Mapping
from typing import Any

from workers.records import Dtype, Precision

_COMPUTE: dict[Precision, Dtype] = {
    "fp32": "fp32",
    "tf32": "tf32",
    "fp16": "fp16",
    "bf16": "bf16",
    "int8-bnb": "bf16",
    "int4-bnb": "bf16",
    "int8-torchao": "bf16",
    "fp8-torchao": "bf16",
}
BYTES: dict[Dtype, float] = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1, "int4": 0.5}
"""Bytes per element."""

_QUANTISED: dict[Precision, float] = {
    "int8-bnb": 1.0,
    "int4-bnb": 0.5 + 4 / 64,
    "int8-torchao": 1.0,
    "fp8-torchao": 1.0,
}
"""Bytes per quantised weight. NF4 keeps a 32-bit scale for each 64 weights; a scale per row vanishes beside the row."""


def compute_dtype(precision: Precision) -> Dtype:
    """The type that the matrix products are computed in.

    The weight-only kinds dequantise to the model's own type, which is bf16 unless a sweep says otherwise, so their
    FLOPs are bf16's.
    """
    return _COMPUTE[precision]


def weight_bytes(parameters: float, quantised: float, precision: Precision) -> float:
    """Bytes of `parameters` weights, of which `quantised` are in linear layers that such a kind quantises."""
    plain = BYTES[compute_dtype(precision)]
    return parameters * plain - quantised * (plain - _QUANTISED.get(precision, plain))


def logits_bytes(
    rows: float, vocabulary: int, precision: Precision, *, steps: int, generate: Mapping[str, Any]
) -> float:
    """Bytes that `generate` holds at once for the logits of `rows` sequences, in the last of `steps` passes.

    The model returns those of one position in its own type, and transformers copies them to 32 bits. It holds the copy
    of the pass before until the new one is made. Options that need still more than is counted here (beam search's
    scores, penalties) are left out, so that this is the least.
    """
    of_32_bits = min(steps, 2) + _sampling(generate)
    return rows * vocabulary * (BYTES[compute_dtype(precision)] + 4 * of_32_bits)


def _sampling(generate: Mapping[str, Any]) -> int:
    """Numbers of 32 bits that sampling holds for each logit: by transformers' `TopKLogitsWarper` and its neighbours."""
    if not generate.get("do_sample"):
        return 0
    nucleus = generate.get("top_p") not in (None, 1)
    filtered = nucleus or generate.get("top_k") != 0 or generate.get("temperature") not in (None, 1)
    # The probabilities; the filtered scores; sorted ones, their 64-bit indices, their softmax and its running sum.
    return 1 + filtered + 5 * nucleus
