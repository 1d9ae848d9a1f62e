"""The process that estimates, as its caller holds it: requests go in, costs or one clear error come out."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from workers.errors import EstimateError, MeasureError, ModelLoadError
from workers.records import InferenceCost, ModelSpec, Shape

_ERRORS = {error.__name__: error for error in (EstimateError, ModelLoadError)}


class EstimatorProcess:
    """`python -m workers.flops`: it imports torch and calflops once, and forks for each request.

    It imports from the moment that it is made, so make it early. A context manager: leaving it ends the process.
    """

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process writes to it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "workers.flops"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            bufsize=1,
            start_new_session=True,  # Ctrl-C is the driver's to answer, and the forks end with the process
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether the process still answers."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process, whatever it is at. Whoever waits for an answer gets an error."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # now, not with a complaint when it is collected
            self._process.stdin.close()

    def estimate(
        self, model: ModelSpec, shapes: Sequence[Shape], *, load: Mapping[str, Any] = {}
    ) -> list[InferenceCost]:
        """What one inference of `model` costs on paper, for each of `shapes`, in their order.

        Neither weights nor a GPU are needed, and of the hub's models only the config is fetched.

        Args:
            model: the model.
            shapes: batch sizes, tokens and precisions.
            load: the sweep's arguments of loading: those that name a field of the config replace it.

        Raises:
            ModelLoadError: the config cannot be read, or does not say how large the model is.
            EstimateError: the process ended, or took too long.
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
        with suppress(BrokenPipeError, ValueError):  # it has ended, or been ended: the answer will say so
            self._process.stdin.write(request + "\n")
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        status = self._process.wait()
        self._said.seek(0)
        last = (self._said.read().strip().splitlines() or ["it said nothing"])[-1]
        raise EstimateError(f"the process that counts FLOPs ended with status {status}: {last}")


def estimate(model: ModelSpec, shapes: Sequence[Shape], *, load: Mapping[str, Any] = {}) -> list[InferenceCost]:
    """`EstimatorProcess.estimate` in a process for this one call."""
    with EstimatorProcess() as process:
        return process.estimate(model, shapes, load=load)
