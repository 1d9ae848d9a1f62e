"""The process that counts FLOPs: `python -m orchestrator.costs.counting`.

Call it through `orchestrator.costs.counting.process`. A request is one line of JSON,
`{"model": ModelSpec, "shapes": [Shape, ...], "load": {...}}`; the answer is one line too,
`{"costs": [InferenceCost, ...]}` or `{"error": ..., "message": ..., "traceback": ...}`.

The process imports the libraries once, which takes seconds, and forks for each request. calflops, which leaves torch
patched, runs in a fork of that fork. So whatever a library or a model's code does to a process ends with the request.
The process and its forks end when the caller ends and so closes standard input.
"""

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from orchestrator.costs.counting.fork import fork
from workers.records.gc_pause import gc_paused

CALFLOPS_TIMEOUT_S = 300
"""A count takes seconds; after this time the library hangs, and only the other estimators answer. Unit: s."""

TIMEOUT_S = 900
"""After this time the model is measured without FLOPs. Unit: s."""


def main() -> None:
    """Answer requests until standard input closes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # keep what the model's code prints out of the answers
    with gc_paused():
        _import()
    os.setpriority(os.PRIO_PROCESS, 0, 10)  # leave the CPU to measurements on the same host
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), file=answers, flush=True)


def _import() -> None:
    """Import what every fork needs."""
    import torch
    from transformers import PreTrainedModel  # noqa: F401 - every model's code imports it

    from orchestrator.costs.counting import count  # noqa: F401

    with suppress(ImportError):  # without calflops, each answer reports that it is missing
        import calflops  # noqa: F401

        from orchestrator.costs.counting import by_calflops  # noqa: F401
    torch.set_num_threads(1)  # a fork does not inherit a thread pool


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    counting = fork(lambda: _estimate(request), TIMEOUT_S)
    answer, failure = counting.receive(unless_closed=sys.stdin.fileno())
    return dict(answer) if answer else {"error": "EstimateError", "message": f"counting FLOPs {failure}"}


def _estimate(request: dict[str, Any]) -> dict[str, Any]:
    from orchestrator.costs.counting import count, loading
    from workers.records import ModelSpec, Shape
    from workers.records.errors import MeasureError, ModelLoadError, one_line

    model = ModelSpec.model_validate(request["model"])
    shapes = [Shape.model_validate(shape) for shape in request["shapes"]]
    counting = fork(lambda: _by_calflops(model, shapes, request["load"]), CALFLOPS_TIMEOUT_S)

    def calflops() -> count.Counted:
        counted, failure = counting.receive()
        return (counted["flops"], counted["failure"]) if counted else (None, f"calflops {failure}")

    try:
        loading.check(model, request["load"])
        costs = count.estimate(model, shapes, load=request["load"], calflops=calflops)
    except Exception as error:
        known = isinstance(error, MeasureError)
        return {
            "error": "ModelLoadError" if isinstance(error, ModelLoadError) else "EstimateError",
            "message": str(error) if known else one_line(error),
            "traceback": "".join(traceback.format_exception(error)),
        }
    return {"costs": [cost.model_dump(mode="json") for cost in costs]}


def _by_calflops(model: Any, shapes: Sequence[Any], load: Mapping[str, Any]) -> dict[str, Any]:
    """The count by calflops with an attention mask, in a fork; if that fails, without a mask, in this process."""
    from orchestrator.costs.counting import by_calflops
    from workers.records.errors import one_line

    flops, _ = fork(lambda: by_calflops.count(model, shapes, load, masked=True), CALFLOPS_TIMEOUT_S).receive()
    try:
        return {"flops": flops or by_calflops.count(model, shapes, load, masked=False), "failure": None}
    except Exception as error:
        return {"flops": None, "failure": one_line(error)}


if __name__ == "__main__":
    main()
