"""The types that a loaded model actually has, read from its modules."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from workers.records import Dtype, PrecisionMetadata

_PLAIN: dict[Any, Dtype] = {
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "fp8",
    torch.float8_e5m2: "fp8",
    torch.int8: "int8",
}
_MATRIX = 2  # a parameter with at least so many dimensions is a weight of matrix products, not a bias or a norm

_COUNTS_FROM = 0.01
"""Smallest share of the layers' weights that makes a model mixed; a router or a state matrix has less."""


def precision_metadata(model: Any) -> PrecisionMetadata:
    """Types of the weights, activations and products of `model`.

    `weights` and `compute` are those of the matrix products in the layers, `mixed` if they differ. The embedding and
    the output head, which no library quantises, appear in `mixed_precision_breakdown`.
    """
    layers = list(_layer_weights(model))
    shares = _shares(model)
    activations = stored_type(model.get_input_embeddings().weight)
    weights: Counter[Dtype] = Counter()
    compute: Counter[Dtype] = Counter()
    for module, weight in layers:
        weights[stored_type(weight)] += elements(weight)
        compute[_compute_type(module, weight, activations)] += elements(weight)
    return PrecisionMetadata(
        weights=_one_or_mixed(weights),
        activations=activations,
        compute=_one_or_mixed(compute),
        mixed_precision_breakdown=shares if len({key.rpartition(":")[2] for key in shares}) > 1 else None,
        quantization_method=next(filter(None, (_method(weight) for _, weight in layers)), None),
    )


def is_quantised(model: Any) -> bool:
    """Whether any weight of `model` is quantised."""
    return any(_method(parameter) for parameter in model.parameters())


def stored_type(weight: Any) -> Dtype:
    """The type that `weight` is stored in."""
    if type(weight).__name__ == "Params4bit":
        return "int4"
    plain = getattr(weight, "qdata", weight)  # torchao's tensors report the type before quantisation
    return _PLAIN.get(plain.dtype, "mixed")


def elements(weight: Any) -> int:
    """Number of elements of `weight`, unpacked: two 4-bit weights share a byte."""
    state = getattr(weight, "quant_state", None)
    return int(torch.Size(state.shape).numel()) if state is not None else int(weight.numel())


def _layer_weights(model: Any) -> Iterator[tuple[Any, Any]]:
    """(module, weight) of each matrix product, without the embedding and the output head."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    lookups = (torch.nn.Embedding, *(type(end) for end in ends if isinstance(end, torch.nn.Embedding)))
    for module in model.modules():
        if isinstance(module, lookups) or module in ends:
            continue
        for weight in module.parameters(recurse=False):
            if weight.ndim >= _MATRIX:
                yield module, weight


def _compute_type(module: Any, weight: Any, activations: Dtype) -> Dtype:
    """Compute type of a layer's products."""
    if type(weight).__name__ == "Params4bit":  # dequantised to compute_dtype block by block
        return _PLAIN.get(module.compute_dtype, activations)
    if type(weight).__name__ == "Int8Params":
        # By convention (docs/flops.md), BitsAndBytes counts as 16 bits: LLM.int8() multiplies int8 x int8 if the device
        # supports it, but its outlier columns, and everything on other devices, run in 16 bits.
        return activations
    if hasattr(weight, "qdata"):  # torchao: dequantised to the activations' type unless those are quantised, too
        return stored_type(weight) if getattr(weight, "act_quant_kwargs", None) is not None else activations
    if weight.dtype == torch.float32 and weight.is_cuda and torch.backends.cuda.matmul.allow_tf32:
        return "tf32"
    return stored_type(weight)


def _method(weight: Any) -> str | None:
    """The library and scheme that quantised `weight`; None if it is not quantised."""
    weight_class = type(weight).__name__
    if weight_class == "Params4bit":
        nested = " (double)" if getattr(weight.quant_state, "nested", False) else ""
        return f"bitsandbytes {weight.quant_type}{nested}"
    if weight_class == "Int8Params":
        return "bitsandbytes LLM.int8"
    if hasattr(weight, "qdata"):
        scope = "weight-only" if getattr(weight, "act_quant_kwargs", None) is None else "dynamic activations"
        return f"torchao {stored_type(weight)} {scope}"
    return None


def _shares(model: Any) -> dict[str, float]:
    """Share of the parameters by `LayerType:type`, the largest first."""
    counts: Counter[str] = Counter()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            counts[f"{type(module).__name__}:{stored_type(parameter)}"] += elements(parameter)
    total = sum(counts.values())
    return {key: count / total for key, count in counts.most_common()}


def _one_or_mixed(counts: Counter[Dtype]) -> Dtype:
    """The only type with a relevant share, or `mixed`."""
    relevant = [dtype for dtype, count in counts.items() if count >= _COUNTS_FROM * counts.total()]
    return relevant[0] if len(relevant) == 1 else "mixed"
