"""The caller's side of the process that counts FLOPs."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from workers.records import InferenceCost, ModelSpec, Shape
from workers.records.errors import EstimateError, MeasureError, ModelLoadError

_ERRORS = {error.__name__: error for error in (EstimateError, ModelLoadError)}


class EstimatorProcess:
    """`python -m orchestrator.costs.counting`, which imports torch and calflops once and forks for each request.

    The imports start with the object, so create it early. A context manager: leaving it ends the process.
    """

    def __init__(self) -> None:
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process runs
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.costs.counting"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            bufsize=1,
            start_new_session=True,  # the driver handles Ctrl-C; the forks end with the process
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def end(self) -> None:
        """Kill the process. A caller that waits for an answer gets an error."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # close now, to avoid a warning at garbage collection
            self._process.stdin.close()

    def estimate(
        self, model: ModelSpec, shapes: Sequence[Shape], *, load: Mapping[str, Any] = {}
    ) -> list[InferenceCost]:
        """The cost of one inference of `model` for each of `shapes`, in their order.

        Needs neither weights nor a GPU. For a model on the hub, it fetches only the config.

        Args:
            model: the model.
            shapes: batch sizes, tokens and precisions.
            load: the sweep's `load` options; those that name a field of the config override it.

        Raises:
            ModelLoadError: the config cannot be read, is invalid, or does not give the size of the model.
            EstimateError: the model or a shape is too large to count, or the process ended or timed out.
        """
        request = {
            "model": model.model_dump(mode="json"),
            "shapes": [shape.model_dump(mode="json") for shape in shapes],
            "load": dict(load),
        }
        answer = self._ask(json.dumps(request))
        if "costs" in answer:
            return [InferenceCost.model_validate(cost) for cost in answer["costs"]]
        error: MeasureError = _ERRORS[answer["error"]](answer["message"])
        error.add_note(answer.get("traceback", ""))
        raise error

    def _ask(self, request: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError, ValueError):  # the process has ended; reading the answer fails below
            self._process.stdin.write(request + "\n")
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        status = self._process.wait()
        self._stderr.seek(0)
        last = (self._stderr.read().strip().splitlines() or ["no output"])[-1]
        raise EstimateError(f"the process that counts FLOPs ended with status {status}: {last}")


def estimate(model: ModelSpec, shapes: Sequence[Shape], *, load: Mapping[str, Any] = {}) -> list[InferenceCost]:
    """`EstimatorProcess.estimate` in a process for one call."""
    with EstimatorProcess() as process:
        return process.estimate(model, shapes, load=load)
