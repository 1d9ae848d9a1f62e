"""Processes beside the driver that count the costs of models."""

from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Self

from orchestrator.costs.counting.process import EstimatorProcess
from workers.records import ModelSpec, Prepared, Shape
from workers.records.errors import MeasureError, ModelLoadError


class Counters:
    """A pool of processes that count, one per concurrent request.

    A context manager: leaving it ends them all.
    """

    def __init__(self) -> None:
        self._idle: SimpleQueue[EstimatorProcess] = SimpleQueue()
        self._all: list[EstimatorProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            process.end()

    def prepare(self, model: ModelSpec, load: dict[str, object], shapes: Sequence[Shape]) -> Prepared:
        """Count the cost of one inference of each shape; return errors as a value. Thread-safe."""
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = self._new()
        try:
            return Prepared(costs=tuple(process.estimate(model, shapes, load=load)))
        except MeasureError as error:
            return Prepared.failed(error, fatal=isinstance(error, ModelLoadError))
        finally:
            if process.lives:
                self._idle.put(process)

    def _new(self) -> EstimatorProcess:
        self._all.append(EstimatorProcess())
        return self._all[-1]
