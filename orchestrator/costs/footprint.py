"""Memory of weights and logits at a precision."""

from collections.abc import Mapping
from typing import Any

from workers.records import DTYPES, PRECISION_SPECS, Precision


def element_bytes(precision: Precision) -> float:
    """Bytes of one element of the cache, the logits or the embeddings, which are not quantised. Unit: bytes."""
    size = DTYPES[PRECISION_SPECS[precision].compute].size_bytes
    assert size is not None  # no precision computes in `mixed`
    return size


def weight_bytes(parameters: float, quantised: float, precision: Precision) -> float:
    """Bytes of `parameters` weights, of which `quantised` are in the linear layers that `precision` quantises."""
    plain = element_bytes(precision)
    return parameters * plain - quantised * (plain - PRECISION_SPECS[precision].weight_bytes)


def logits_bytes(
    rows: float, vocabulary: int, precision: Precision, *, steps: int, generate: Mapping[str, Any]
) -> float:
    """Minimum bytes that `generate` holds for the logits of `rows` sequences, in the last of `steps` passes.

    The model returns the logits of one position in its own type, and transformers copies them to 32 bits. It holds the
    previous pass's copy until the new one exists. Options that need more memory (scores of beam search, penalties) are
    ignored.
    """
    of_32_bits = min(steps, 2) + _sampling(generate)
    return rows * vocabulary * (element_bytes(precision) + 4 * of_32_bits)


def _sampling(generate: Mapping[str, Any]) -> int:
    """32-bit numbers that sampling holds per logit. Source: transformers' `TopKLogitsWarper`, `TopPLogitsWarper`."""
    if not generate.get("do_sample"):
        return 0
    nucleus = generate.get("top_p") not in (None, 1)
    filtered = nucleus or generate.get("top_k") != 0 or generate.get("temperature") not in (None, 1)
    # The probabilities; the filtered scores; sorted ones, their 64-bit indices, their softmax and its running sum.
    return 1 + filtered + 5 * nucleus
