"""The closed form: what each pass multiplies, from the architecture's blueprint alone."""

from workers.flops.blueprint import Blueprint
from workers.flops.passes import Counter, Pass


def counter(blueprint: Blueprint) -> Counter:
    """A counter of passes by arithmetic: 2 FLOPs per multiply-add, the whole score matrix, not halved for causality."""

    def count(batch: int, tokens: int, decodes: int) -> list[Pass]:
        prefill = forward(blueprint, new=tokens, cached=0)
        passes = (forward(blueprint, new=1, cached=cached) for cached in range(tokens, tokens + decodes))
        return [Pass(flops=batch * flops) for flops in (prefill, *passes)]

    return count


def forward(blueprint: Blueprint, *, new: int, cached: int, logits: int | None = None) -> float:
    """FLOPs of one sequence's pass over `new` tokens with `cached` ones before them.

    Args:
        blueprint: the architecture.
        new: tokens that go through the layers. Unit: tokens.
        cached: tokens whose keys and values are there already. Unit: tokens.
        logits: positions that logits are computed for; None: the last one, or all where the model cannot do otherwise.
    """
    if logits is None:
        logits = new if blueprint.head_at_every_position else 1
    return 2 * (
        new * blueprint.per_token
        + (new + cached) * blueprint.per_cached_token
        + logits * blueprint.head
        + attention(blueprint, new=new, cached=cached) / 2
    )


def attention(blueprint: Blueprint, *, new: int, cached: int) -> float:
    """FLOPs of that pass's scores and of their products with the values.

    At prefill, eager attention fills the whole score matrix and masks what a sliding window does not show; later, the
    cache of such a layer holds no more than the window.
    """
    return sum(
        2 * width * new * (min(new + cached, window) if window and cached else new + cached)
        for width, window in blueprint.scores
    )
