"""SweepConfig -> cells -> runs: expands the grid, orders it, drops finished runs. Pure."""

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from orchestrator.config import Problem, Shuffled, SweepConfig, SweepError
from orchestrator.config.problems import Path, dotted
from workers.records import Cell, RandomPrompts, Run

MAX_RUNS = 100_000
"""Most runs of a sweep; more are a mistake rather than a plan."""

Settings = dict[str, Any]
"""Setting -> value, with `model` by name."""


@dataclass(frozen=True)
class _Choice:
    """One value of one axis, or one member of a group."""

    path: Path
    settings: Settings


def points(sweep: SweepConfig) -> int:
    """Points of the grid before `exclude`."""
    return math.prod(len(axis) for axis in _axes(sweep))


def expand(sweep: SweepConfig) -> list[Cell]:
    """Every cell of the grid that `exclude` does not match: models, precisions, groups, axes; the last varies fastest.

    Raises:
        SweepError: too many runs, two equal cells, a rule or model without effect, a batch that its processes cannot
            share evenly, or no cell left.
    """
    axes = _axes(sweep)
    _refuse_too_many(axes, sweep)
    rules = _Rules(sweep)
    kept = [choices for choices in product(*axes) if not rules.match(_merged(choices))]
    make = _cell_maker(sweep)
    cells = [make(_merged(choices)) for choices in kept]
    problems = [*rules.unmatched(), *_unused_models(axes, sweep), *_equal(cells, kept), *_uneven(cells)]
    if not kept:
        problems = [Problem(("exclude",), "excludes every point of the grid; remove a rule")]
    if problems:
        raise SweepError(problems, sweep.origin)
    return cells


def runs(cells: Sequence[Cell], sweep: SweepConfig) -> list[Run]:
    """Every run of the cells in the sweep's order. `longest_first` repeats cells in rounds, most `work` first."""
    if sweep.order == "longest_first":
        cells = sorted(cells, key=work, reverse=True)
    if sweep.order in {"longest_first", "interleaved"}:
        return [Run(cell=cell, repeat=repeat) for repeat in range(sweep.repeats) for cell in cells]
    ordered = [Run(cell=cell, repeat=repeat) for cell in cells for repeat in range(sweep.repeats)]
    if isinstance(sweep.order, Shuffled):
        random.Random(sweep.order.shuffled).shuffle(ordered)  # noqa: S311 - an order, not a secret
    return ordered


def pending(runs: Sequence[Run], done: Collection[str]) -> list[Run]:
    """The runs whose `key` is not in `done`, in the same order."""
    finished = frozenset(done)
    return [run for run in runs if run.key not in finished]


def cell_id(key: str) -> str:
    """The `cell_id` in a run's key."""
    return key.rpartition(".")[0]


def per_card(cells: Sequence[Cell], cards: Sequence[str]) -> list[Cell]:
    """Each cell once for each type of card (by Ray's name), for `one_row_per_card`."""
    return [cell.model_copy(update={"accelerator_type": card}) for cell in cells for card in cards]


def work(cell: Cell) -> int:
    """Tokens of one generation, prompts included: a proxy of its time where no prediction exists."""
    return cell.batch_size * (cell.input_tokens + cell.output_tokens)


def _axes(sweep: SweepConfig) -> list[list[_Choice]]:
    """The axes, outermost first. The axis that sets the model comes first, so that a model's cells are adjacent."""
    groups = [
        [_Choice(("groups", index, place), member) for place, member in enumerate(group)]
        for index, group in enumerate(sweep.groups)
    ]
    by_model = [group for group in groups if "model" in group[0].settings]
    models = [_Choice(("models", index), {"model": spec.name}) for index, spec in enumerate(sweep.specs)]
    precisions = [
        _Choice(("precisions", index), {"precision": value}) for index, value in enumerate(sweep.precisions or ())
    ]
    others = [
        [_Choice(("axes", key, index), {key: value}) for index, value in enumerate(values)]
        for key, values in sweep.axes.items()
    ]
    return [
        *(by_model or [models]),
        *([precisions] if precisions else []),
        *(group for group in groups if group not in by_model),
        *others,
    ]


def _merged(choices: Sequence[_Choice]) -> Settings:
    return {key: value for choice in choices for key, value in choice.settings.items()}


def _refuse_too_many(axes: list[list[_Choice]], sweep: SweepConfig) -> None:
    """Checked before the expansion, so that a mistake cannot exhaust the memory."""
    cells = math.prod(len(axis) for axis in axes)
    if cells * sweep.repeats <= MAX_RUNS:
        return
    factors = " x ".join(f"{len(axis):,} {_axis_name(axis)}" for axis in axes if len(axis) > 1)
    repeated = f" x {sweep.repeats:,} repeats = {cells * sweep.repeats:,} runs" if sweep.repeats > 1 else ""
    limit = f"a sweep has at most {MAX_RUNS:,} runs, counted before `exclude`"
    raise SweepError([Problem((), f"{factors} = {cells:,} cells{repeated}; {limit}")], sweep.origin)


def _axis_name(axis: list[_Choice]) -> str:
    path = axis[0].path
    return f"groups[{path[1]}]" if path[0] == "groups" else str(path[-2])


def _cell_maker(sweep: SweepConfig) -> Any:
    """A function from the settings of a point to its cell. It looks up once what all cells share."""
    specs = {spec.name: spec for spec in sweep.specs}
    shared: Settings = {
        "engine": sweep.engine,
        "device": sweep.device,
        "prompts": sweep.text_prompts or RandomPrompts(seed=sweep.prompts.seed),
        "warmup": sweep.warmup,
        "window": sweep.window,
        "quality": sweep.quality_spec,
    }

    def make(point: Settings) -> Cell:
        fields: Settings = {"generate": {}, "load": {}}
        for key, value in point.items():
            prefix, _, option = key.partition(".")
            if option:
                fields[prefix][option] = value
            else:
                fields[key] = value
        return Cell(**shared, **(fields | {"model": specs[point["model"]]}))

    return make


class _Rules:
    """The sweep's `exclude` rules, and which of them have matched."""

    def __init__(self, sweep: SweepConfig) -> None:
        self.rules = sweep.exclude
        self.matched = [False] * len(self.rules)

    def match(self, point: Settings) -> bool:
        hits = [index for index, rule in enumerate(self.rules) if _matches(rule, point)]
        for index in hits:
            self.matched[index] = True
        return bool(hits)

    def unmatched(self) -> list[Problem]:
        message = "matches no point of the grid; fix it or remove it"
        return [Problem(("exclude", index), message) for index, hit in enumerate(self.matched) if not hit]


def _matches(rule: dict[str, tuple[Any, ...]], point: Settings) -> bool:
    return all(any(_same(_value(point, key), value) for value in values) for key, values in rule.items())


def _value(point: Settings, key: str) -> object:
    """A setting of a point, or the cell's default."""
    if key in point or key not in Cell.model_fields:
        return point.get(key)
    return Cell.model_fields[key].default


def _same(one: object, other: object) -> bool:
    """Equality as in YAML, where `true` is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _unused_models(axes: list[list[_Choice]], sweep: SweepConfig) -> list[Problem]:
    used = {choice.settings["model"] for axis in axes for choice in axis if "model" in choice.settings}
    return [
        Problem(
            ("models", index),
            f"no member of the group that sets `model` has {spec.name!r}; add a member or remove the model",
        )
        for index, spec in enumerate(sweep.specs)
        if spec.name not in used
    ]


def _equal(cells: Sequence[Cell], kept: Sequence[tuple[_Choice, ...]]) -> list[Problem]:
    """Points that give the same cell, as members of a group may by their defaults: one problem for each choice."""
    first: dict[str, tuple[_Choice, ...]] = {}
    problems: dict[Path, Problem] = {}
    for cell, choices in zip(cells, kept, strict=True):
        other = first.setdefault(cell.cell_id, choices)
        for mine, theirs in zip(choices, other, strict=True):
            if mine is not theirs:
                message = f"gives the same cells as {dotted(theirs.path)} (defaults included); remove one of them"
                problems.setdefault(mine.path, Problem(mine.path, message))
    return list(problems.values())


def _uneven(cells: Sequence[Cell]) -> list[Problem]:
    """Batches that the data-parallel processes cannot share evenly."""
    pairs = sorted({(cell.batch_size, cell.processes) for cell in cells if cell.batch_size % cell.processes})
    return [
        Problem(
            ("axes", "processes"), f"{processes} processes cannot share a batch of {size} evenly; `exclude` this point"
        )
        for size, processes in pairs
    ]
