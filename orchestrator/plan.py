"""SweepConfig -> cells -> runs: expand the grid, order it, drop what is done. Pure."""

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from orchestrator.config import Problem, Shuffled, SweepConfig, SweepError
from workers.records import Cell, RandomPrompts, Run

MAX_RUNS = 100_000
"""Runs of a sweep at most: more is a slip of the pen rather than a plan."""

Settings = dict[str, Any]
"""Setting -> value, with `model` by name."""

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class _Choice:
    """One value of one axis, or one member of a group."""

    path: Path
    settings: Settings


def points(sweep: SweepConfig) -> int:
    """Points of the grid before `exclude`."""
    return math.prod(len(axis) for axis in _axes(sweep))


def expand(sweep: SweepConfig) -> list[Cell]:
    """Every cell of the grid but those that `exclude` names: models, precisions, groups, axes, the last one fastest.

    Raises:
        SweepError: too many runs, two equal cells, a rule or model that does nothing, a batch that its processes cannot
            share evenly, or nothing left.
    """
    axes = _axes(sweep)
    _refuse_too_many(axes, sweep)
    rules = _Rules(sweep)
    kept = [choices for choices in product(*axes) if not rules.match(_merged(choices))]
    make = _cell_maker(sweep)
    cells = [make(_merged(choices)) for choices in kept]
    problems = [*rules.idle(), *_unused_models(axes, sweep), *_equal(cells, kept), *_uneven(cells)]
    if not kept:
        problems = [Problem(("exclude",), "leaves nothing of the grid")]
    if problems:
        raise SweepError(problems, sweep.origin)
    return cells


def runs(cells: Sequence[Cell], sweep: SweepConfig) -> list[Run]:
    """Every run of the cells in the sweep's order: by rounds, the longest first by `work`, unless it asks otherwise."""
    if sweep.order == "longest_first":
        cells = sorted(cells, key=work, reverse=True)
    if sweep.order in {"longest_first", "interleaved"}:
        return [Run(cell=cell, repeat=repeat) for repeat in range(sweep.repeats) for cell in cells]
    ordered = [Run(cell=cell, repeat=repeat) for cell in cells for repeat in range(sweep.repeats)]
    if isinstance(sweep.order, Shuffled):
        random.Random(sweep.order.shuffled).shuffle(ordered)  # noqa: S311 - an order, not a secret
    return ordered


def pending(runs: Sequence[Run], done: Collection[str]) -> list[Run]:
    """The runs whose `key` is not among those done, in their order."""
    finished = frozenset(done)
    return [run for run in runs if run.key not in finished]


def cell_id(key: str) -> str:
    """The cell that a run of this key repeats."""
    return key.rpartition(".")[0]


def per_card(cells: Sequence[Cell], cards: Sequence[str]) -> list[Cell]:
    """Each cell once for each type of card (in Ray's words), for `one_row_per_card`."""
    return [cell.model_copy(update={"accelerator_type": card}) for cell in cells for card in cards]


def work(cell: Cell) -> int:
    """Tokens that one generation passes through the model, as a proxy of its time where nothing better is known."""
    return cell.batch_size * (cell.input_tokens + cell.output_tokens)


def _axes(sweep: SweepConfig) -> list[list[_Choice]]:
    """The axes, outermost first: what decides on the model comes first, so that the cells of a model stand together."""
    groups = [
        [_Choice(("groups", index, place), member) for place, member in enumerate(group)]
        for index, group in enumerate(sweep.groups)
    ]
    by_model = [group for group in groups if "model" in group[0].settings]
    models = [_Choice(("models", index), {"model": spec.name}) for index, spec in enumerate(sweep.specs)]
    precisions = [
        _Choice(("precisions", index), {"precision": kind}) for index, kind in enumerate(sweep.precisions or ())
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
    """Before anything is expanded: a slip of the pen must not eat the memory."""
    cells = math.prod(len(axis) for axis in axes)
    if cells * sweep.repeats <= MAX_RUNS:
        return
    factors = " x ".join(f"{len(axis):,} {_axis_name(axis)}" for axis in axes if len(axis) > 1)
    repeated = f" x {sweep.repeats:,} repeats = {cells * sweep.repeats:,} runs" if sweep.repeats > 1 else ""
    said = f"{factors} = {cells:,} cells{repeated}; a sweep has at most {MAX_RUNS:,} runs, counted before `exclude`"
    raise SweepError([Problem((), said)], sweep.origin)


def _axis_name(axis: list[_Choice]) -> str:
    path = axis[0].path
    return f"groups[{path[1]}]" if path[0] == "groups" else str(path[-2])


def _cell_maker(sweep: SweepConfig) -> Any:
    """A function from the settings of a point to its cell; what all cells share is looked up once."""
    specs = {spec.name: spec for spec in sweep.specs}
    shared: Settings = {
        "device": sweep.device,
        "prompts": sweep.text_prompts or RandomPrompts(seed=sweep.prompts.seed),
        "warmup": sweep.warmup,
        "window": sweep.window,
        "quality": sweep.quality_spec,
    }

    def make(point: Settings) -> Cell:
        fields: Settings = {"generate": {}, "load": {}}
        for key, value in point.items():
            room, _, option = key.partition(".")
            if option:
                fields[room][option] = value
            else:
                fields[key] = value
        return Cell(**shared, **(fields | {"model": specs[point["model"]]}))

    return make


class _Rules:
    """The sweep's `exclude` rules, and which of them ever matched."""

    def __init__(self, sweep: SweepConfig) -> None:
        self.rules = sweep.exclude
        self.matched = [False] * len(self.rules)

    def match(self, point: Settings) -> bool:
        hits = [index for index, rule in enumerate(self.rules) if _matches(rule, point)]
        for index in hits:
            self.matched[index] = True
        return bool(hits)

    def idle(self) -> list[Problem]:
        said = "matches no point of the grid: mend it or leave it out"
        return [Problem(("exclude", index), said) for index, hit in enumerate(self.matched) if not hit]


def _matches(rule: dict[str, tuple[Any, ...]], point: Settings) -> bool:
    return all(any(_same(_value(point, key), value) for value in values) for key, values in rule.items())


def _value(point: Settings, key: str) -> object:
    """A setting of a point: as written, or the cell's default."""
    if key in point or key not in Cell.model_fields:
        return point.get(key)
    return Cell.model_fields[key].default


def _same(one: object, other: object) -> bool:
    """Equality in which `true` is not 1, as in YAML."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _unused_models(axes: list[list[_Choice]], sweep: SweepConfig) -> list[Problem]:
    used = {choice.settings["model"] for axis in axes for choice in axis if "model" in choice.settings}
    return [
        Problem(("models", index), f"{spec.name!r} is in no member of the group that sets `model`")
        for index, spec in enumerate(sweep.specs)
        if spec.name not in used
    ]


def _equal(cells: Sequence[Cell], kept: Sequence[tuple[_Choice, ...]]) -> list[Problem]:
    """Points that come to the same cell, as members of a group may by their defaults: one error for each choice."""
    first: dict[str, tuple[_Choice, ...]] = {}
    found: dict[Path, Problem] = {}
    for cell, choices in zip(cells, kept, strict=True):
        other = first.setdefault(cell.cell_id, choices)
        for mine, theirs in zip(choices, other, strict=True):
            if mine is not theirs:
                twin = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in theirs.path).lstrip(".")
                said = f"comes to the same cells as {twin} (defaults included); one is enough"
                found.setdefault(mine.path, Problem(mine.path, said))
    return list(found.values())


def _uneven(cells: Sequence[Cell]) -> list[Problem]:
    """Batches that the data-parallel processes cannot share evenly."""
    pairs = sorted({(cell.batch_size, cell.processes) for cell in cells if cell.batch_size % cell.processes})
    return [
        Problem(
            ("axes", "processes"), f"{processes} processes cannot share a batch of {size} evenly; `exclude` that point"
        )
        for size, processes in pairs
    ]
