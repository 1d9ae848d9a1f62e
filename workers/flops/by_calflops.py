"""Counting with the calflops library, in a process of its own.

calflops replaces functions of `torch.nn.functional` while it counts, and leaves them replaced when the model raises:
the next count in that process is double, and everything that runs there stays instrumented. So `Library` starts
`python -m workers.flops.by_calflops`, which answers requests line by line, and forks for each: whatever a count leaves
behind ends with it.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from math import prod
from typing import Any, Self

from workers.records import ModelSpec, Shape

_MATRIX = 2  # dimensions of a matrix, and operands of a product

TIMEOUT_S = 300
"""A count takes seconds; past this the library is stuck, and the other estimators answer."""


class Library:
    """The process that calflops works in. A context manager: leaving it ends the process.

    Requests are answered in the order they were sent in, so one can be sent before the other estimators begin, and read
    when they are done.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def lives(self) -> bool:
        """Whether the process still answers."""
        return self._process.poll() is None

    def send(self, model: ModelSpec, shapes: Sequence[Shape], load: Mapping[str, Any]) -> None:
        """Ask for the FLOPs of each of `shapes`."""
        request = {
            "model": model.model_dump(mode="json"),
            "shapes": [shape.model_dump(mode="json") for shape in shapes],
            "load": dict(load),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")

    def receive(self) -> tuple[list[float] | None, str | None]:
        """FLOPs of each shape of the oldest request that was not answered yet, or None and why."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return None, f"the process of calflops ended with status {self._process.wait()}"
        answer = json.loads(line)
        return answer["flops"], answer["failure"]


def main() -> None:
    """Answer requests until there are no more."""
    # Imported once here instead of in every fork; where calflops is missing, each answer says so.
    with suppress(ImportError):
        import calflops  # noqa: F401

        from workers.flops import twin  # noqa: F401

    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the model's code prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        if code := _forked(answers, request, masked=True):
            code = _forked(answers, request, masked=False)
        if code:
            late = code == -signal.SIGALRM
            why = f"calflops had not finished after {TIMEOUT_S} s" if late else f"calflops ended with status {code}"
            _reply(answers, {"flops": None, "failure": why})


def _forked(answers: int, request: dict[str, Any], *, masked: bool) -> int:
    """Count and answer in a fork; returns its exit status, and 1 where only a count without mask is left to try."""
    child = os.fork()
    if child == 0:
        signal.alarm(TIMEOUT_S)
        answer = _answer(request, masked=masked)
        if answer["flops"] is None and masked:
            os._exit(1)
        _reply(answers, answer)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _reply(answers: int, answer: dict[str, Any]) -> None:
    os.write(answers, (json.dumps(answer) + "\n").encode())


def _answer(request: dict[str, Any], *, masked: bool) -> dict[str, Any]:
    from workers.flops import config
    from workers.flops.passes import Passes
    from workers.flops.twin import Twin

    shapes = [Shape.model_validate(shape) for shape in request["shapes"]]
    try:
        _respell()
        read = config.read(ModelSpec.model_validate(request["model"]), request["load"])
        count = _counter(Twin(read, masked=masked), {shape.input_tokens for shape in shapes})
        passes = Passes(count, shapes, read.bends)
        return {"flops": [passes.flops(shape) for shape in shapes], "failure": None}
    except Exception as error:
        return {"flops": None, "failure": config.one_line(error)}


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


def _counter(twin: Any, prompts: Collection[int]) -> Any:
    """A counter of the twin's passes by calflops: 2 x its MACs, because its own FLOPs have elementwise work in them."""
    import torch
    from calflops import calculate_flops

    from workers.flops.passes import Pair

    class Pass(torch.nn.Module):  # type: ignore[misc] # torch is not type-checked here
        """One pass as a module that takes a tensor, which is all that calflops can hand over."""

        def __init__(self, generation: Any) -> None:
            super().__init__()
            self.model, self.generation = twin.model, generation

        def forward(self, _: torch.Tensor) -> None:
            self.generation.step()

    def macs(generation: Any) -> float:
        nothing = torch.empty(0, device="meta")
        _, macs, _ = calculate_flops(
            model=Pass(generation), args=[nothing], print_results=False, output_as_string=False
        )
        return float(macs)

    def count(batch: int, tokens: int) -> Pair:
        generation = twin.prompt(batch, tokens)
        prefill = None
        if tokens in prompts:
            prefill = 2 * macs(generation)
        else:
            generation.step()
        return Pair(prefill=prefill, decode=2 * macs(generation))

    return count


if __name__ == "__main__":
    main()
