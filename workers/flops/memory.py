"""Memory of weights and cache on paper, at a precision."""

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
