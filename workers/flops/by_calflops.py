"""Counting with the calflops library, in a process that ends with the count.

calflops replaces functions of `torch.nn.functional` while it counts, and leaves them replaced when the model raises:
the next count in that process is double, and everything that runs there stays instrumented. Call `count` only where
nothing else is computed, now or later: `workers.flops.__main__` forks for each.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from workers.flops import config
from workers.flops.passes import Passes
from workers.flops.twin import Twin
from workers.records import ModelSpec, Shape

_MATRIX = 2  # dimensions of a matrix, and operands of a product


def count(model: ModelSpec, shapes: Sequence[Shape], load: Mapping[str, Any], *, masked: bool) -> list[float]:
    """FLOPs of each of `shapes`, in their order. Leaves torch patched.

    Args:
        model: the model.
        shapes: batch sizes, tokens and precisions.
        load: the sweep's arguments of loading.
        masked: whether the passes get an attention mask; see `Twin`.

    Raises:
        Exception: whatever the model, transformers or calflops raise.
    """
    _respell()
    read = config.read(model, load)
    twin = Twin(read, masked=masked)
    passes = Passes(_counter(twin), shapes, read.breakpoints, modules=twin.modules)
    if passes.doubt:
        raise ValueError(passes.doubt)
    return [passes.flops(shape) for shape in shapes]


def _respell() -> None:
    """Spell the products that calflops does not look for as those that it does.

    Those are `@`, `bmm`, the tensor's own `baddbmm`, and `einsum`, for which calflops has FLOPs but no MACs: BLOOM's
    and Falcon's attention, every expert, Mamba-2's state. For this process only, which ends with the request.
    """
    import torch

    plain_bmm, plain_einsum = torch.bmm, torch.einsum

    def matmul(left: Any, right: Any) -> Any:
        # torch.matmul is looked up at each call: while calflops counts, it is calflops' own. That multiplies the left
        # shape by the right's last dimension, and so needs the left one as broad as the product is.
        if right.ndim > left.ndim >= _MATRIX:
            left = left.expand(*right.shape[: right.ndim - left.ndim], *left.shape)
        return torch.matmul(left, right)

    def einsum(equation: str, *operands: Any) -> Any:
        made = _as_matmul(equation.replace(" ", ""), *operands) if len(operands) == _MATRIX else None
        return plain_einsum(equation, *operands) if made is None else made

    def baddbmm(added: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
        return plain_bmm(batch1, batch2) * alpha + added * beta  # which calflops wraps, and must not see twice

    def tensor_baddbmm(added: Any, batch1: Any, batch2: Any, **scales: float) -> Any:
        return torch.baddbmm(added, batch1, batch2, **scales)

    torch.bmm = torch.Tensor.bmm = torch.Tensor.__matmul__ = matmul
    torch.baddbmm, torch.Tensor.baddbmm = baddbmm, tensor_baddbmm
    torch.einsum = einsum


def _as_matmul(equation: str, left: Any, right: Any) -> Any:
    """An einsum of two tensors as one batched `torch.matmul`; None where it is not one."""
    import torch

    inputs, _, output = equation.partition("->")
    first, _, second = inputs.partition(",")
    shared = set(first) & set(second)
    batch = [label for label in output if label in shared]
    rows, columns = ([label for label in output if label in own and label not in shared] for own in (first, second))
    inner = [label for label in first if label in shared and label not in output]
    plain = len(set(first)) == len(first) and len(set(second)) == len(second) and "." not in equation
    if not plain or {*batch, *rows, *inner} != set(first) or {*batch, *columns, *inner} != set(second):
        return None
    size = dict(zip(first + second, (*left.shape, *right.shape), strict=True))
    shape = [size[label] for label in batch]
    one = left.permute([first.index(label) for label in (*batch, *rows, *inner)])
    two = right.permute([second.index(label) for label in (*batch, *inner, *columns)])
    depth = prod(size[label] for label in inner)
    product = torch.matmul(one.reshape(*shape, -1, depth), two.reshape(*shape, depth, -1))
    made = [*batch, *rows, *columns]
    return product.reshape([size[label] for label in made]).permute([made.index(label) for label in output])


def _counter(twin: Any) -> Any:
    """A counter of the twin's passes by calflops: 2 x its MACs, because its own FLOPs have elementwise work in them."""
    import torch
    from calflops import calculate_flops

    from workers.flops.passes import Pass

    class _Step(torch.nn.Module):  # type: ignore[misc] # torch is not type-checked here
        """One pass as a module that takes a tensor, which is all that calflops can hand over."""

        def __init__(self, generation: Any) -> None:
            super().__init__()
            self.model, self.generation = twin.model, generation

        def forward(self, _: torch.Tensor) -> None:
            self.generation.step()

    def macs(generation: Any) -> float:
        nothing = torch.empty(0, device="meta")
        _, macs, _ = calculate_flops(
            model=_Step(generation), args=[nothing], print_results=False, output_as_string=False
        )
        return float(macs)

    def count(batch: int, tokens: int, decodes: int) -> list[Any]:
        generation = twin.prompt(batch, tokens)
        return [Pass(flops=2 * macs(generation)) for _ in range(1 + decodes)]

    return count
