"""Counting at torch's dispatcher: every matrix product that reaches an operator, however the code writes it."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from orchestrator.costs.counting.meta_model import Generation, MetaModel
from orchestrator.costs.counting.passes import Counter, Pass


def counter(meta: MetaModel) -> Counter:
    """A counter of the meta model's passes. It keeps no state between generations."""

    def count(batch: int, tokens: int, decodes: int) -> list[Pass]:
        generation = meta.prompt(batch, tokens)
        return [Pass(flops=_pass(generation), cache=elements(generation.cache)) for _ in range(1 + decodes)]

    return count


class _Total(TorchDispatchMode):  # type: ignore[misc] # torch is not type-checked here
    """torch's FlopCounterMode without totals per module, which take a third of the time on a model of 60 layers."""

    flops: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


def _pass(generation: Generation) -> int:
    with _Total() as total:
        generation.step()
    return int(total.flops)


def elements(cache: Any) -> int | None:
    """Elements of every tensor in a cache of any class; None if there is no cache."""
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
    return sum(seen.values()) or None
