"""Counting with the calflops library, in a process of its own.

calflops replaces functions of `torch.nn.functional` while it counts, and leaves them replaced when the model raises: the
next count in that process is double, and everything that runs there stays instrumented. So this module runs as
`python -m workers.flops.by_calflops`: a request as JSON on standard input, one line of JSON on standard output.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

from workers.records import ModelSpec, Shape

TIMEOUT_S = 300.0
"""A count takes seconds; past this the library is stuck, and the other estimators answer."""


class Counting:
    """calflops at work on one model; made before the other estimators begin, so that they work side by side."""

    def __init__(self, model: ModelSpec, shapes: Sequence[Shape], load: Mapping[str, Any]) -> None:
        request = {
            "model": model.model_dump(mode="json"),
            "shapes": [shape.model_dump(mode="json") for shape in shapes],
            "load": dict(load),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "workers.flops.by_calflops"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request))
        self._process.stdin.close()
        self._process.stdin = None  # communicate() would flush it again

    def flops(self) -> tuple[list[float | None], str | None]:
        """FLOPs of each shape, and why they are null where they are."""
        try:
            output, errors = self._process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.stop()
            return [], f"calflops had not finished after {TIMEOUT_S:g} s"
        if self._process.returncode:
            last = errors.strip().splitlines()[-1:] or [f"exit status {self._process.returncode}"]
            return [], f"calflops: {last[0]}"
        answer = json.loads(output.splitlines()[-1])
        return answer["flops"], answer["failure"]

    def stop(self) -> None:
        """End the process, where it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    with redirect_stdout(sys.stderr):
        answer = _answer(request)
    print(json.dumps(answer))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from workers.flops import config
    from workers.flops.passes import Passes
    from workers.flops.twin import Twin

    shapes = [Shape.model_validate(shape) for shape in request["shapes"]]
    try:
        read = config.read(ModelSpec.model_validate(request["model"]), request["load"])
        passes = Passes(_counter(Twin(read)), shapes, read.bends)
        return {"flops": [passes.flops(shape) for shape in shapes], "failure": None}
    except Exception as error:
        return {"flops": [None] * len(shapes), "failure": f"calflops: {config.one_line(error)}"}


def _counter(twin: Any) -> Any:
    """A counter of the twin's passes by calflops: 2 x its MACs, because its own FLOPs have elementwise work in them."""
    import torch
    from calflops import calculate_flops

    from workers.flops.passes import Pair

    class Pass(torch.nn.Module):
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
        return Pair(prefill=2 * macs(generation), decode=2 * macs(generation))

    return count


if __name__ == "__main__":
    main()
