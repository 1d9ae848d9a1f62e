"""Preparation ahead of the GPU's turn: each model's costs are counted once, in a CPU task, for all its cells."""

from collections.abc import Iterator, Sequence
from typing import Any

import ray

from orchestrator.backlog import Backlog, model_key
from orchestrator.predict import predicted_s
from workers.prepare import Prepared, prepare
from workers.records import InferenceCost, ProcessFailure, Run, Shape


class Preparation:
    """The models of a sweep on their way to being measurable.

    Args:
        runs: Every run of the sweep.
        before_measuring: Whether all of it must be done before anything is measured: beside a measurement on the CPU,
            counting would take its cores.
        estimate: What a task does for a model; a stand-in where nothing is to be counted.
    """

    def __init__(self, runs: Sequence[Run], *, before_measuring: bool, estimate: Any = prepare) -> None:
        self._before_measuring = before_measuring
        self._costs: dict[str, dict[Shape, InferenceCost]] = {}
        self._reasons: dict[str, str] = {}
        by_model: dict[str, list[Run]] = {}
        for run in runs:
            by_model.setdefault(model_key(run), []).append(run)
        # max_calls=1: a process that counted is thrown away, and measures nothing.
        task = ray.remote(num_cpus=1, max_calls=1)(estimate)
        self.refs: dict[Any, str] = {}
        self._shapes: dict[str, tuple[Shape, ...]] = {}
        for model, its_runs in by_model.items():
            shapes = tuple(dict.fromkeys(shape_of(run) for run in its_runs))
            self._shapes[model] = shapes
            cell = its_runs[0].cell
            self.refs[task.remote(cell.model, cell.load, shapes)] = model

    @property
    def may_measure(self) -> bool:
        """Whether workers may be opened yet."""
        return not (self._before_measuring and self.refs)

    def settle(self, ref: Any, backlog: Backlog, attempt: int = 1) -> Iterator[tuple[Run, ProcessFailure]]:
        """Take in what one task came to: the model's runs are released, or fail where the model cannot be had."""
        model = self.refs.pop(ref)
        try:
            prepared: Prepared = ray.get(ref)
        except Exception as error:  # the task's process died: measuring may go well all the same
            prepared = Prepared(reason=f"counting FLOPs ended with {type(error).__name__}: {error}")
        if prepared.error_type is not None:
            for run in backlog.discard(model):
                yield run, _cannot_be_had(run, prepared, attempt)
            return
        self._costs[model] = dict(zip(self._shapes[model], prepared.costs, strict=False))
        if prepared.reason:
            self._reasons[model] = prepared.reason
        backlog.release(model, lambda run: predicted_s(run.cell, self.cost(run)[0]))

    def cost(self, run: Run) -> tuple[InferenceCost | None, str | None]:
        """What one inference of one data-parallel rank of the run costs, or why that is not known."""
        model = model_key(run)
        return self._costs.get(model, {}).get(shape_of(run)), self._reasons.get(model)

    def cancel(self) -> None:
        """End what still runs."""
        for ref in self.refs:
            ray.cancel(ref, force=True)
        self.refs.clear()


def shape_of(run: Run) -> Shape:
    """What one data-parallel rank of a run computes."""
    cell = run.cell
    return Shape(
        batch_size=cell.batch_size // cell.processes,
        input_tokens=cell.input_tokens,
        output_tokens=cell.output_tokens,
        precision=cell.precision,
    )


def _cannot_be_had(run: Run, prepared: Prepared, attempt: int) -> ProcessFailure:
    assert prepared.error_type is not None
    return ProcessFailure(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        status="failed",
        error_type=prepared.error_type,
        error_message=prepared.reason or prepared.error_type,
        traceback=prepared.traceback,
        attempt=attempt,
    )
