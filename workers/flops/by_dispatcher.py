"""Counting at the dispatcher: every product that reaches torch's operators, however the model's code spells it."""

from typing import Any

from torch.utils.flop_counter import FlopCounterMode

from workers.flops.passes import Counter, Pair
from workers.flops.twin import Generation, Twin


def counter(twin: Twin) -> Counter:
    """A counter of the twin's passes. It changes nothing in torch that outlives a pass."""

    def count(batch: int, tokens: int) -> Pair:
        generation = twin.prompt(batch, tokens)
        prefill = _pass(generation)
        prefill_cache = elements(generation.cache)
        decode = _pass(generation)
        return Pair(
            prefill=prefill, decode=decode, prefill_cache=prefill_cache, decode_cache=elements(generation.cache)
        )

    return count


def _pass(generation: Generation) -> int:
    with FlopCounterMode(display=False) as mode:
        generation.step()
    return int(mode.get_total_flops())


def elements(cache: Any) -> int | None:
    """Elements of every tensor in a cache, whatever its class; None where there is no cache."""
    import torch

    seen: dict[int, int] = {}

    def walk(thing: Any, depth: int) -> None:
        if isinstance(thing, torch.Tensor):
            seen[id(thing)] = thing.numel()
        elif isinstance(thing, dict):
            for value in thing.values():
                walk(value, depth + 1)
        elif isinstance(thing, list | tuple):
            for value in thing:
                walk(value, depth + 1)
        elif type(thing).__module__.startswith("transformers.") and hasattr(thing, "__dict__") and depth < 4:
            walk(vars(thing), depth + 1)

    walk(cache, 0)
    return sum(seen.values()) if cache is not None else None
