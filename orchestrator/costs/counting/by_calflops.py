"""Counting with the calflops library, in a process that ends with the count.

calflops replaces functions of `torch.nn.functional` while it counts, and does not restore them when the model raises:
the next count in that process is double, and everything that runs there stays instrumented. Call `count` only in a
process that computes nothing else: `orchestrator.costs.counting.__main__` forks for each count.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from orchestrator.costs.counting import model_config
from orchestrator.costs.counting.meta_model import MetaModel
from orchestrator.costs.counting.passes import Passes
from workers.records import ModelSpec, Shape

_MATRIX = 2  # dimensions of a matrix, and operands of a product


def count(model: ModelSpec, shapes: Sequence[Shape], load: Mapping[str, Any], *, masked: bool) -> list[float]:
    """FLOPs of each of `shapes`, in their order. Leaves torch patched.

    Args:
        model: the model.
        shapes: batch sizes, tokens and precisions.
        load: the sweep's arguments of loading.
        masked: whether the passes get an attention mask; see `MetaModel`.

    Raises:
        Exception: any error of the model, transformers or calflops.
    """
    _rewrite_products()
    read = model_config.read(model, load)
    meta = MetaModel(read, masked=masked)
    passes = Passes(_counter(meta), shapes, read.breakpoints, modules=meta.modules)
    if passes.doubt:
        raise ValueError(passes.doubt)
    return [passes.flops(shape) for shape in shapes]


def _rewrite_products() -> None:
    """Rewrite products that calflops misses as products that it counts.

    Those are `@`, `bmm`, `Tensor.baddbmm`, and `einsum`, for which calflops counts FLOPs but no MACs. They occur in the
    attention of BLOOM and Falcon, in every expert, and in the state of Mamba-2. The patches end with this process.
    """
    import torch

    plain_bmm, plain_einsum = torch.bmm, torch.einsum

    def matmul(left: Any, right: Any) -> Any:
        # Look torch.matmul up at each call: while calflops counts, it is calflops' own. That multiplies the left shape
        # by the right's last dimension, so the left operand must have the product's batch dimensions.
        if right.ndim > left.ndim >= _MATRIX:
            left = left.expand(*right.shape[: right.ndim - left.ndim], *left.shape)
        return torch.matmul(left, right)

    def einsum(equation: str, *operands: Any) -> Any:
        product = _as_matmul(equation.replace(" ", ""), *operands) if len(operands) == _MATRIX else None
        return plain_einsum(equation, *operands) if product is None else product

    def baddbmm(added: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
        return plain_bmm(batch1, batch2) * alpha + added * beta  # calflops wraps torch.baddbmm; count it once

    def tensor_baddbmm(added: Any, batch1: Any, batch2: Any, **scales: float) -> Any:
        return torch.baddbmm(added, batch1, batch2, **scales)

    torch.bmm = torch.Tensor.bmm = torch.Tensor.__matmul__ = matmul
    torch.baddbmm, torch.Tensor.baddbmm = baddbmm, tensor_baddbmm
    torch.einsum = einsum


def _as_matmul(equation: str, left: Any, right: Any) -> Any:
    """An einsum of two tensors as one batched `torch.matmul`; None if it has another form."""
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
    labels = [*batch, *rows, *columns]
    return product.reshape([size[label] for label in labels]).permute([labels.index(label) for label in output])


def _counter(meta: Any) -> Any:
    """A counter of the meta model's passes by calflops: 2 x its MACs, because its FLOPs include elementwise work."""
    import torch
    from calflops import calculate_flops

    from orchestrator.costs.counting.passes import Pass

    class _Step(torch.nn.Module):  # type: ignore[misc] # torch is not type-checked here
        """One pass as a module that takes a tensor, because calflops passes only tensors."""

        def __init__(self, generation: Any) -> None:
            super().__init__()
            self.model, self.generation = meta.model, generation

        def forward(self, _: torch.Tensor) -> None:
            self.generation.step()

    def macs(generation: Any) -> float:
        nothing = torch.empty(0, device="meta")
        _, macs, _ = calculate_flops(
            model=_Step(generation), args=[nothing], print_results=False, output_as_string=False
        )
        return float(macs)

    def count(batch: int, tokens: int, decodes: int) -> list[Any]:
        generation = meta.prompt(batch, tokens)
        return [Pass(flops=2 * macs(generation)) for _ in range(1 + decodes)]

    return count
