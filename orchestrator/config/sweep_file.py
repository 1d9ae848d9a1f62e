"""The models of the sweep file: `SweepFile` as the YAML has it, `SweepConfig` once it is resolved."""

import datetime as dt
import re
import string
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from orchestrator.config.problems import Origin, Path, did_you_mean
from orchestrator.config.settings import ACT, Axes, Point, Rule, unknown_loading
from orchestrator.config.transformers_names import unknown_type
from workers.records import Device, ModelSpec, Precision, Quality, Record, TextPrompts, Warmup, Window

ENGINES = ("transformers", "fake")
"""The engines that come with JouleGrid."""

PLACEHOLDERS = ("name", "date")
"""Names that `out` may have in braces."""

_T = TypeVar("_T")
_Listed = Annotated[list[_T], Field(min_length=1)]
"""The JSON Schema type of a list with at least one item."""


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_Problems = list[tuple[Path, str]]
"""Messages, each with its path below the record that it is about."""


def _invalid(*problems: tuple[Path, str]) -> ValidationError:
    errors = [InitErrorDetails(type=_error(message), loc=path, input=None) for path, message in problems]
    return ValidationError.from_exception_data("sweep", errors)


def _error(message: str) -> PydanticCustomError:
    """An error whose message is used as it is."""
    return PydanticCustomError("sweep", message)


class ModelEntry(Record):
    """A model: a hub id or local folder (`source`), or a transformers `config` to build with random weights."""

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Its name in the results; by default the hub id, the folder's name, or the config's `model_type`."""
    source: Annotated[str, Field(min_length=1)] | None = None
    """Hub id, or local folder (relative to the sweep file)."""
    config: dict[str, JsonValue] | None = None
    """A transformers config: `model_type`, and each field that differs from that architecture's default."""
    revision: Annotated[str, Field(min_length=1)] | None = None
    """The hub's branch, tag or commit."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.source is None) == (self.config is None):
            raise _invalid(((), "a model needs either `source` (hub id or folder) or `config`, not both"))
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            raise _invalid((("config",), "a config needs a `model_type`, such as `llama` or `gpt2`"))
        if self.config is not None and (unknown := unknown_type(self.config, trusted=self.trust_remote_code)):
            raise _invalid((("config", "model_type"), unknown))
        if self.config is not None and self.revision is not None:
            raise _invalid((("revision",), "a model with a `config` has no revisions; remove `revision`"))
        return self


def _entry(value: object) -> object:
    return {"source": value} if isinstance(value, str) else value


class Shuffled(Record):
    """Runs start in a random order that the seed fixes."""

    shuffled: NonNegativeInt
    """Seed of the shuffle."""


OrderName = Literal["as_written", "interleaved", "longest_first"]


class Prompts(Record):
    """What the models are prompted with: random token ids, or the texts of a file."""

    seed: NonNegativeInt = 0
    """Seed of the random token ids. Only without `file`."""
    file: Annotated[str, Field(min_length=1)] | None = None
    """JSONL, Parquet or plain text (a prompt a line), relative to the sweep file; null: random token ids."""
    column: Annotated[str, Field(min_length=1)] = "text"
    """The JSONL key or Parquet column that holds the text."""

    @model_validator(mode="after")
    def _file_or_seed(self) -> Self:
        if self.file is not None and "seed" in self.model_fields_set:
            raise _invalid((("seed",), "texts from a file are not random; remove `seed` or `file`"))
        if self.file is None and "column" in self.model_fields_set:
            raise _invalid((("column",), "needs a `file` with that column; add `file` or remove `column`"))
        return self


class QualityText(Record):
    """Perplexity over a text, by a sliding window."""

    text: Annotated[str, Field(min_length=1)]
    """JSONL, Parquet or plain text file, relative to the sweep file."""
    column: Annotated[str, Field(min_length=1)] = "text"
    """The JSONL key or Parquet column that holds the text."""
    context_tokens: PositiveInt = Quality.model_fields["context_tokens"].default
    """Length of the sliding window. Unit: tokens."""
    stride_tokens: PositiveInt = Quality.model_fields["stride_tokens"].default
    """How far the window moves each time; only the tokens that it newly covers are scored. Unit: tokens."""
    max_tokens: PositiveInt = Quality.model_fields["max_tokens"].default
    """Maximum number of tokens of the text to score. Unit: tokens."""

    @model_validator(mode="after")
    def _stride_fits(self) -> Self:
        if self.stride_tokens > self.context_tokens:
            message = (
                f"{self.stride_tokens} is more than context_tokens ({self.context_tokens}), so it would skip tokens"
            )
            raise _invalid((("stride_tokens",), message))
        return self


class Placement(Record):
    """Where the processes of a cell run."""

    strategy: Literal["STRICT_PACK", "PACK"] = "STRICT_PACK"
    """Ray's placement strategy for a cell of several processes: one node for all, or one node where possible."""
    gpus_per_process: NonNegativeFloat | None = None
    """GPUs that a process reserves: 1, or a fraction, so that ranks share a card; null: 1 on CUDA, 0 on the CPU.
    With `device: cpu` it only affects the placement, to rehearse a sweep on simulated cards."""
    exclusive_node: bool = False
    """Whether a run has its node to itself."""
    one_row_per_card: bool = False
    """Whether each cell is measured on every type of card in the cluster."""
    wait_for_nodes_s: NonNegativeFloat = 0.0
    """How long a cell that fits on no node waits for nodes that the cluster's autoscaler may start. Unit: s."""

    @field_validator("gpus_per_process")
    @classmethod
    def _one_card(cls, value: float | None) -> float | None:
        if value is not None and value > 1:
            raise _error("a process has at most one GPU; use `tensor_parallel` to split a replica over several")
        return value


class Emissions(Record):
    """Carbon intensity of the electricity, to report energy in grams of CO2e too."""

    grams_per_kwh: PositiveFloat
    """Carbon intensity. Unit: g CO2e/kWh."""
    source: Annotated[str, Field(min_length=1)]
    """Where the figure comes from."""
    date: dt.date
    """The date that the figure is for; the last day, where it is for a year."""


class SweepFile(Record):
    """A sweep: models x precisions x further axes, and how to measure each point of the grid."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    """The sweep's name, used in paths: letters, digits, `.`, `_`, `-`."""
    models: Annotated[
        tuple[Annotated[ModelEntry, BeforeValidator(_entry, json_schema_input_type=str | ModelEntry)], ...],
        Field(min_length=1),
        BeforeValidator(_listed, json_schema_input_type=_Listed[str | ModelEntry] | str | ModelEntry),
    ]
    """The models: each a hub id, a local folder, or a mapping."""
    precisions: (
        Annotated[
            tuple[Precision, ...],
            Field(min_length=1),
            BeforeValidator(_listed, json_schema_input_type=_Listed[Precision] | Precision),
        ]
        | None
    ) = None
    """The precisions to run each model in. Required, unless the members of a group set `precision`."""
    axes: Axes = {}
    """Further axes of the grid: each setting with its value or list of values."""
    groups: tuple[Annotated[tuple[Point, ...], Field(min_length=1)], ...] = ()
    """Values that belong together: each group is one axis, and each of its members sets several settings at once."""
    exclude: tuple[Annotated[Rule, Field(min_length=1)], ...] = ()
    """Points to leave out: a rule excludes each point that matches all of its settings, each with one of its values."""
    repeats: Annotated[int, Field(ge=1, le=100_000)] = 1
    """How often each cell is measured."""
    order: Annotated[
        Annotated[OrderName, Tag("<name>")] | Annotated[Shuffled, Tag("<shuffled>")],
        Discriminator(lambda value: "<shuffled>" if isinstance(value, dict | Shuffled) else "<name>"),
    ] = "longest_first"
    """The order in which runs start. `longest_first` starts long runs early, avoids reloading models, and repeats short
    cells in rounds, so that a burst of load cannot slow every repeat of one. The others are exact: `as_written` (the
    repeats of a cell in a row), `interleaved` (all cells once before any is repeated) and `shuffled`."""
    warmup: Warmup = Warmup()
    """Unmeasured generations before each window."""
    window: Window = Window()
    """The measured window."""
    prompts: Prompts = Prompts()
    """What the models are prompted with."""
    quality: QualityText | None = None
    """Perplexity, measured beside the cost; null: not measured."""
    reference_precision: Precision | None = None
    """The precision that `perplexity_degradation` compares with; null: the first of fp32, bf16, fp16 in the grid."""
    emissions: Emissions | None = None
    """Carbon intensity; null: energy is in joules only."""
    timeout_s: PositiveFloat = 1800.0
    """Time limit of a run, including loading. Unit: s."""
    engine: Annotated[str, Field(min_length=1, max_length=200)] = "transformers"
    """What generates: `transformers`; `fake`, which needs no model and invents its figures, to try out a cluster; or
    `MODULE:NAME`, a callable that returns your own backend (`workers.backend.Backend`)."""
    device: Device = "auto"
    """Where the models run: `auto` uses CUDA where the cluster has GPUs."""
    isolation: Literal["reuse", "fresh"] = "reuse"
    """`reuse`: a process that a run left unchanged takes the next run; `fresh`: each run has its own process."""
    max_attempts: PositiveInt = 3
    """How often a run is tried if its process or node is lost."""
    max_node_failures: PositiveInt = 3
    """Failures in a row, each of another cell, after which a node is quarantined."""
    placement: Placement = Placement()
    """Where processes run."""
    out: Annotated[str, Field(min_length=1, max_length=1000)] = "results/{name}"
    """Folder or URL of the results. `{name}` and `{date}` are filled in; the date is today's, or the environment
    variable `JOULEGRID_DATE`, so that a sweep can go on after midnight. Relative paths start in the working folder."""

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, value: str) -> str:
        if value not in ENGINES and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", value):
            near = did_you_mean(value, ENGINES) or f"; use {', '.join(ENGINES)} or MODULE:NAME"
            raise _error(f"unknown engine {value!r}{near}")
        return value

    @field_validator("out")
    @classmethod
    def _known_placeholders(cls, value: str) -> str:
        try:
            placeholders = [
                f"{field}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}"
                for _, field, spec, conversion in string.Formatter().parse(value)
                if field is not None
            ]
        except ValueError as error:
            raise _error(f"{value!r} has unbalanced braces") from error
        for placeholder in placeholders:
            if placeholder not in PLACEHOLDERS:
                near = did_you_mean(placeholder, PLACEHOLDERS) or "; use {name} or {date}"
                raise _error(f"unknown placeholder {{{placeholder}}}{near}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        checks = (_group_problems, _option_problems, _measure_problems, _card_problems, _reference_problems)
        if problems := [problem for check in checks for problem in check(self)]:
            raise _invalid(*problems)
        return self


def _group_problems(sweep: SweepFile) -> _Problems:
    """Settings that are set twice, and members without the model or precision that others of their group have."""
    owner = {key: f"axes.{key}" for key in sweep.axes}
    if sweep.precisions is not None:
        owner["precision"] = "precisions"
    problems: _Problems = []
    for index, group in enumerate(sweep.groups):
        keys = dict.fromkeys(key for member in group for key in member)
        for place, member in enumerate(group):
            here = ("groups", index, place)
            problems += [((*here, key), _set_twice(owner[key])) for key in member if key in owner]
            lacking = [key for key in ("model", "precision") if key in keys and key not in member]
            problems += [(here, f"has no {key!r}, but other members of its group do; add it") for key in lacking]
        owner |= dict.fromkeys(keys, f"groups[{index}]")
    if "precision" not in owner:
        problems.append((("precisions",), "is required, unless the members of a group set `precision`"))
    return problems


def _set_twice(other: str) -> str:
    return f"is also set by {other}; remove one of them"


def _option_problems(sweep: SweepFile) -> _Problems:
    """Options that the engine does not take, or no model. What a model's own code takes is unknown before it runs."""
    places: list[tuple[Path, Mapping[str, object]]] = [(("axes",), sweep.axes)]
    places += [(("groups", g, m), member) for g, group in enumerate(sweep.groups) for m, member in enumerate(group)]
    problems: _Problems = []
    if sweep.engine == "transformers":
        problems += [
            ((*place, ACT), f"{ACT!r} is an option of the fake engine; set `engine: fake`")
            for place, keys in places
            if ACT in keys
        ]
    if not any(model.trust_remote_code for model in sweep.models):
        problems += [
            ((*place, key), reason) for place, keys in places for key in keys if (reason := unknown_loading(key))
        ]
    return problems


def _measure_problems(sweep: SweepFile) -> _Problems:
    """Settings of the measurement that contradict each other."""
    warmup, window = sweep.warmup, sweep.window
    problems: _Problems = []
    if warmup.floor > warmup.cap:
        problems.append((("warmup", "floor"), f"{warmup.floor} is more than cap ({warmup.cap})"))
    if warmup.cv is not None and warmup.floor < 2:
        problems.append(
            (("warmup", "floor"), "`cv` is computed over the last `floor` generations; set `floor` to at least 2")
        )
    if window.min_generations > window.max_generations:
        message = f"{window.min_generations} is more than max_generations ({window.max_generations})"
        problems.append((("window", "min_generations"), message))
    return problems


def _card_problems(sweep: SweepFile) -> _Problems:
    """Settings about cards that contradict `device` or each other."""
    placement = sweep.placement
    problems: _Problems = []
    if sweep.device == "cuda" and placement.gpus_per_process == 0:
        problems.append((("placement", "gpus_per_process"), "0 reserves no GPU, but `device: cuda` needs one"))
    if sweep.device == "cpu" and placement.one_row_per_card:
        problems.append((("placement", "one_row_per_card"), "`device: cpu` uses no card; remove this setting"))
    if sweep.device == "cpu" and "accelerator_type" in sweep.axes:
        problems.append((("axes", "accelerator_type"), "`device: cpu` uses no card; remove this setting"))
    if sweep.device == "auto" and placement.wait_for_nodes_s:
        message = "`device: auto` cannot know what the awaited nodes will have; set `device` to cuda or cpu"
        problems.append((("placement", "wait_for_nodes_s"), message))
    if placement.one_row_per_card and "accelerator_type" in sweep.axes:
        problems.append((("axes", "accelerator_type"), _set_twice("placement.one_row_per_card")))
    return problems


def _reference_problems(sweep: SweepFile) -> _Problems:
    """A `reference_precision` that no perplexity can be compared with."""
    reference = sweep.reference_precision
    if reference is None:
        return []
    if sweep.quality is None:
        return [(("reference_precision",), "perplexity is measured only with `quality`; add it or remove this setting")]
    if reference not in grid_precisions(sweep):
        return [(("reference_precision",), f"{reference!r} is not among the precisions of this sweep")]
    return []


def grid_precisions(sweep: SweepFile) -> tuple[Precision, ...]:
    """The precisions of the grid, from `precisions` or the groups."""
    return sweep.precisions or tuple(
        member["precision"] for group in sweep.groups for member in group if "precision" in member
    )


class SweepConfig(SweepFile):
    """A checked sweep file with the contents of the files it points to: all that the rest of the program needs."""

    specs: tuple[ModelSpec, ...]
    """The models, with folders resolved and fingerprinted, in the order of `models`."""
    text_prompts: TextPrompts | None = None
    """The prompts of cells; null where they are random."""
    prompt_texts: tuple[str, ...] = Field(default=(), repr=False)
    """The texts of `prompts.file`."""
    quality_spec: Quality | None = None
    """How cells measure perplexity."""
    quality_text: str | None = Field(default=None, repr=False)
    """The text of `quality.text`."""
    sweep_hash: str
    """16 hex digits over everything that affects the figures: all keys but `out`, and the files' contents."""
    out_date: dt.date | None = Field(default=None, exclude=True)
    """The date in `out`; null where `out` has none."""
    origin: Origin = Field(default=Origin(), repr=False, exclude=True)
    """The file, for errors that are raised later."""

    @property
    def degradation_against(self) -> Precision | None:
        """The precision that `perplexity_degradation` compares with; null without quality or without a plain one."""
        if self.quality is None:
            return None
        present = grid_precisions(self)
        plain: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
        return self.reference_precision or next((precision for precision in plain if precision in present), None)
