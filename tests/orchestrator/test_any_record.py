"""Every valid record becomes rows: no journal can make the tables fail."""

import builtins
import random
import types
from collections.abc import Iterable
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt

from orchestrator import aggregate
from orchestrator.results import columns
from orchestrator.results.rows import AggregatedResult, RawRow, SweepInfo
from workers.records import Cell, InferenceMetrics, ModelSpec, Outcome, ProcessFailure, RawProcessResult, Record, Run

SWEEP = SweepInfo(sweep="s", sweep_hash="h", ray_version="2", driver_host="here", started_unix_s=1.0)
FLOATS = (0.0, 1e-30, 1e-9, 1.0, 1e12, 1e60)
INTS = (0, 1, 7, 10**15)
TEXTS = ("", "a", "\0\x1b[31m", "\u202eb\U0001f600")
ALWAYS_POSITIVE = ("generations",)


class Maker:
    """Makes random records with the extremes that their schema allows."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def fields(self, model: type[Record], **fixed: Any) -> dict[str, Any]:
        made = {name: self.value(name, field.annotation, field.metadata) for name, field in model.model_fields.items()}
        return made | fixed

    def value(self, name: str, annotation: Any, bounds: Iterable[Any] = ()) -> Any:
        inside = get_args(annotation)
        if get_origin(annotation) is Annotated:
            return self.value(name, inside[0], [*bounds, *inside[1:]])
        if get_origin(annotation) in (Union, types.UnionType):
            return self.value(name, self.rng.choice(inside), bounds)
        if isinstance(annotation, type) and issubclass(annotation, Record):
            return annotation.model_validate(self.fields(annotation))
        match get_origin(annotation):
            case builtins.tuple:
                return tuple(self.value(name, inside[0]) for _ in range(self.rng.randrange(3)))
            case builtins.dict:
                return {self.rng.choice(TEXTS): self.value(name, inside[1])}
        return self.rng.choice(inside or self.scalars(name, annotation, bounds))

    def scalars(self, name: str, annotation: type, bounds: Iterable[Any]) -> list[Any]:
        some: dict[type, tuple[Any, ...]] = {
            types.NoneType: (None,),
            bool: (False, True),
            str: TEXTS,
            int: (*INTS, *(-one for one in INTS)),
            float: (*FLOATS, *(-one for one in FLOATS)),
        }
        allowed = [one for one in some[annotation] if all(_holds(one, bound) for bound in _flat(bounds))]
        return [one for one in allowed if one or name not in ALWAYS_POSITIVE]

    def outcome(self, cell: Cell, repeat: int) -> Outcome:
        of_run = {"cell_id": cell.cell_id, "repeat": repeat}
        results = [
            self.fields(RawProcessResult, **of_run, rank=rank, **self.window()) for rank in range(cell.world_size)
        ]
        failures = [self.fields(ProcessFailure, **of_run) for _ in range(2)]
        made = {"run": Run(cell=cell, repeat=repeat), "results": results, "earlier_failures": failures[:1]}
        return Outcome.model_validate(made | {"failure": self.rng.choice([None, failures[1]])})

    def window(self) -> dict[str, Any]:
        """Fields that must be consistent within a result."""
        start, end = sorted(self.rng.sample((0.0, 1e9, 1e9 + 1e-6, 4e9), 2))
        requests = self.rng.choice((1, 10**15))
        tokens = {
            "window_s": self.rng.choice((1e-6, 1.0, 1e9)),
            "requests": requests,
            "generated_tokens": self.rng.choice((requests, 10**15)),
        }
        return {
            "window_start_unix_s": start,
            "window_end_unix_s": end,
            "window_opened_after_barrier_s": self.rng.choice((None, 0.0, 1e-9, 1e9)),
            "measured_batch_size": 1,
            "inference_metrics": self.fields(InferenceMetrics, **tokens),
        }


def _flat(bounds: Iterable[Any]) -> list[Any]:
    return [each for bound in bounds for each in getattr(bound, "metadata", [bound])]


def _holds(value: float, bound: Any) -> bool:
    match bound:
        case Ge(least):
            return bool(value >= least)
        case Gt(least):
            return bool(value > least)
        case Le(most):
            return bool(value <= most)
        case Lt(most):
            return bool(value < most)
    return True


@pytest.mark.parametrize("seed", range(25))
def test_every_valid_record_becomes_rows_of_both_tables(seed: int) -> None:
    maker = Maker(seed)
    shape = {"processes": maker.rng.choice((1, 2)), "tensor_parallel": maker.rng.choice((1, 2))}
    cell = Cell(model=ModelSpec(name="m", config={"model_type": "llama"}), precision="bf16", **shape)
    outcomes = [maker.outcome(cell, repeat) for repeat in range(maker.rng.choice((1, 2)))]
    row = aggregate.aggregate(cell, outcomes, SWEEP, repeats_asked=len(outcomes), reference_perplexity=7.0)
    AggregatedResult.model_validate(row.model_dump())
    columns.table(AggregatedResult, [row])
    columns.table(RawRow, aggregate.raw_rows(cell, outcomes, SWEEP))
