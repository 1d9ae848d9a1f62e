"""Closed form of the FLOPs of a forward pass, from the architecture alone."""

from orchestrator.costs.architecture import Architecture


def forward(architecture: Architecture, *, new: int, cached: int, logits: int | None = None) -> float:
    """FLOPs of one sequence's pass over `new` tokens that follow `cached` tokens.

    Args:
        architecture: the architecture.
        new: tokens that go through the layers. Unit: tokens.
        cached: tokens whose keys and values are in the cache. Unit: tokens.
        logits: positions with logits; None: the last one, or all if the model cannot skip any.
    """
    if logits is None:
        logits = new if architecture.head_at_every_position else 1
    return 2 * (
        new * architecture.per_token
        + (new + cached) * architecture.per_cached_token
        + logits * architecture.head
        + attention(architecture, new=new, cached=cached) / 2
    )


def attention(architecture: Architecture, *, new: int, cached: int) -> float:
    """FLOPs of that pass's attention scores and of their products with the values.

    At prefill, eager attention computes the whole score matrix and masks positions outside a sliding window. At decode,
    the cache of a layer with a window holds at most the window.
    """
    return sum(
        2 * width * new * (min(new + cached, window) if window and cached else new + cached)
        for width, window in architecture.scores
    )
