"""The process that estimates: `python -m workers.flops`; `workers.flops.process` is its caller's side.

A request is a line of JSON, `{"model": ModelSpec, "shapes": [Shape, ...], "load": {...}}`; the answer is a line too,
`{"costs": [InferenceCost, ...]}` or `{"error": ..., "message": ..., "traceback": ...}`.

Imports take seconds and are made once, here. Each request is worked on in a fork, and calflops, which leaves torch
patched, in a fork of that: whatever a library or a model's code does to a process ends with the request. And this
process ends, with every fork, when whoever asks is gone: its standard input closes.
"""

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from workers.flops.fork import fork
from workers.imports import uncollected

CALFLOPS_TIMEOUT_S = 300
"""A count takes seconds; past this the library is stuck, and the other estimators answer."""

TIMEOUT_S = 900
"""Past this the model is measured without FLOPs."""


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the model's code prints is no answer
    with uncollected():
        _import()
    os.setpriority(os.PRIO_PROCESS, 0, 10)  # beside a measurement on the same host, counting can wait
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), file=answers, flush=True)


def _import() -> None:
    """Import what every fork needs."""
    import torch
    from transformers import PreTrainedModel  # noqa: F401 - what every model's code imports

    from workers.flops import costs  # noqa: F401

    with suppress(ImportError):  # without calflops, each answer says so
        import calflops  # noqa: F401

        from workers.flops import by_calflops  # noqa: F401
    torch.set_num_threads(1)  # a pool of threads would not come along into a fork


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    counting = fork(lambda: _estimate(request), TIMEOUT_S)
    answer, failure = counting.receive(unless_closed=sys.stdin.fileno())
    return dict(answer) if answer else {"error": "EstimateError", "message": f"counting FLOPs {failure}"}


def _estimate(request: dict[str, Any]) -> dict[str, Any]:
    from workers.errors import MeasureError, ModelLoadError, one_line
    from workers.flops import costs, loading
    from workers.records import ModelSpec, Shape

    model = ModelSpec.model_validate(request["model"])
    shapes = [Shape.model_validate(shape) for shape in request["shapes"]]
    counting = fork(lambda: _by_calflops(model, shapes, request["load"]), CALFLOPS_TIMEOUT_S)

    def calflops() -> costs.Counted:
        counted, failure = counting.receive()
        return (counted["flops"], counted["failure"]) if counted else (None, f"calflops {failure}")

    try:
        loading.check(model, request["load"])
        made = costs.estimate(model, shapes, load=request["load"], calflops=calflops)
    except Exception as error:
        known = isinstance(error, MeasureError)
        return {
            "error": "ModelLoadError" if isinstance(error, ModelLoadError) else "EstimateError",
            "message": str(error) if known else one_line(error),
            "traceback": "".join(traceback.format_exception(error)),
        }
    return {"costs": [cost.model_dump(mode="json") for cost in made]}


def _by_calflops(model: Any, shapes: Sequence[Any], load: Mapping[str, Any]) -> dict[str, Any]:
    """The count by calflops, with an attention mask, or else, in a process that is not patched yet, without."""
    from workers.errors import one_line
    from workers.flops import by_calflops

    flops, _ = fork(lambda: by_calflops.count(model, shapes, load, masked=True), CALFLOPS_TIMEOUT_S).receive()
    try:
        return {"flops": flops or by_calflops.count(model, shapes, load, masked=False), "failure": None}
    except Exception as error:
        return {"flops": None, "failure": one_line(error)}


if __name__ == "__main__":
    main()
