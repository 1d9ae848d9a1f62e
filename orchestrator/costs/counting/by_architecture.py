"""Counting by the closed form, from the architecture alone."""

from orchestrator.costs.architecture import Architecture
from orchestrator.costs.closed_form import forward
from orchestrator.costs.counting.passes import Counter, Pass


def counter(architecture: Architecture) -> Counter:
    """A counter of passes by formula: 2 FLOPs per multiply-add; the whole score matrix, not halved for causality."""

    def count(batch: int, tokens: int, decodes: int) -> list[Pass]:
        prefill = forward(architecture, new=tokens, cached=0)
        passes = (forward(architecture, new=1, cached=cached) for cached in range(tokens, tokens + decodes))
        return [Pass(flops=batch * flops) for flops in (prefill, *passes)]

    return count
