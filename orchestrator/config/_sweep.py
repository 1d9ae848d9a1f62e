"""The sweep file's models: what stands in the YAML (`SweepFile`), and the same once resolved (`SweepConfig`)."""

import datetime as dt
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

from orchestrator.config._problems import Origin, Path, did_you_mean, shown
from orchestrator.config._settings import Axes, Point, Rule, unknown_loading
from workers.names import NAMES
from workers.records import Device, ModelSpec, Precision, Quality, Record, TextPrompts, Warmup, Window

PLACEHOLDERS = ("name", "date")
"""What `out` may hold in braces."""


_T = TypeVar("_T")
_Listed = Annotated[list[_T], Field(min_length=1)]
"""A list of at least one, as JSON Schema sees it."""


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_Found = list[tuple[Path, str]]
"""Problems by their place below the record that finds them."""


def _wrong(*found: tuple[Path, str]) -> ValidationError:
    return ValidationError.from_exception_data(
        "sweep",
        [InitErrorDetails(type=_said(message), loc=path, input=None) for path, message in found],
    )


def _said(message: str) -> PydanticCustomError:
    """An error in our own words."""
    return PydanticCustomError("sweep", message)


class ModelEntry(Record):
    """A model: a hub id or local folder (`source`), or a transformers `config` to build with random weights."""

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """What the results call it; by default the hub id, the folder's name, or the config's `model_type`."""
    source: Annotated[str, Field(min_length=1)] | None = None
    """Hub id, or local folder (relative to the sweep file)."""
    config: dict[str, JsonValue] | None = None
    """A transformers config, with `model_type` and whatever differs from that architecture's defaults."""
    revision: Annotated[str, Field(min_length=1)] | None = None
    """The hub's branch, tag or commit."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.source is None) == (self.config is None):
            raise _wrong(((), "a model has either `source` (hub id or folder) or `config`, one of the two"))
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            raise _wrong((("config",), "a config needs a `model_type`, as `llama` or `gpt2`"))
        if self.config is not None and (unknown := unknown_type(self.config, trusted=self.trust_remote_code)):
            raise _wrong((("config", "model_type"), unknown))
        if self.config is not None and self.revision is not None:
            raise _wrong((("revision",), "only a model from the hub has revisions"))
        return self


def unknown_type(fields: Mapping[str, JsonValue], *, trusted: bool) -> str | None:
    """Why transformers cannot know the type of model that a config is of; null where it does, or may."""
    kind = fields.get("model_type")
    may_be = (trusted and "auto_map" in fields) or not NAMES.are_all
    if not isinstance(kind, str) or kind in NAMES.model_types or may_be:
        return None
    return f"{shown(kind)} is no type of model that {NAMES.source} knows{did_you_mean(kind, NAMES.model_types)}"


def _entry(value: object) -> object:
    return {"source": value} if isinstance(value, str) else value


class Shuffled(Record):
    """Runs in a random order that the seed fixes."""

    shuffled: NonNegativeInt
    """The shuffle's seed."""


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
    def _one_kind(self) -> Self:
        if self.file is not None and "seed" in self.model_fields_set:
            raise _wrong((("seed",), "texts from a file are not drawn at random: leave `seed` or `file` out"))
        if self.file is None and "column" in self.model_fields_set:
            raise _wrong((("column",), "a column of what? name the `file` beside it"))
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
    """How far the window moves: only the tokens it newly covers are scored. Unit: tokens."""
    max_tokens: PositiveInt = Quality.model_fields["max_tokens"].default
    """Tokens of the text scored at most. Unit: tokens."""

    @model_validator(mode="after")
    def _stride_fits(self) -> Self:
        if self.stride_tokens > self.context_tokens:
            said = f"{self.stride_tokens} is more than context_tokens ({self.context_tokens}): tokens would go unscored"
            raise _wrong((("stride_tokens",), said))
        return self


class Placement(Record):
    """Where the processes of a cell go."""

    strategy: Literal["STRICT_PACK", "PACK"] = "STRICT_PACK"
    """Ray's placement strategy for a cell of several processes: all on one node, or on one where possible."""
    gpus_per_process: NonNegativeFloat | None = None
    """GPUs that a process reserves: a share (ranks then share a card) or 1; null: 1 on CUDA, 0 on the CPU. With
    `device: cpu` it only says where processes go, to rehearse a sweep on cards that are simulated."""
    exclusive_node: bool = False
    """Whether a run has its node for itself."""
    one_row_per_card: bool = False
    """Whether each cell is measured on every type of card that the cluster has."""
    wait_for_nodes_s: NonNegativeFloat = 0.0
    """How long a cell that no node can hold waits for nodes that the cluster's autoscaler may start. Unit: s."""

    @field_validator("gpus_per_process")
    @classmethod
    def _one_card(cls, value: float | None) -> float | None:
        if value is not None and value > 1:
            raise _said("a process has one GPU; a replica is split over several by `tensor_parallel`")
        return value


class Emissions(Record):
    """Carbon intensity of the electricity, to state energy in grams of CO2e too."""

    grams_per_kwh: PositiveFloat
    """Carbon intensity. Unit: g CO2e/kWh."""
    source: Annotated[str, Field(min_length=1)]
    """Who says so."""
    date: dt.date
    """The day or year's end that the figure is for."""


class SweepFile(Record):
    """A sweep: models x precisions x further axes, and how each point of the grid is measured."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    """The sweep's name, which stands in paths: letters, digits, `.`, `_`, `-`."""
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
    """The kinds of numbers to run each model in. Required, unless the members of a group set `precision`."""
    axes: Axes = {}
    """Further axes of the grid: each setting with its value or list of values."""
    groups: tuple[Annotated[tuple[Point, ...], Field(min_length=1)], ...] = ()
    """Values that go together: each group is one axis, and each of its members sets several settings at once."""
    exclude: tuple[Annotated[Rule, Field(min_length=1)], ...] = ()
    """Points to leave out: a rule leaves out each point that has one of its values in all of its settings."""
    repeats: Annotated[int, Field(ge=1, le=100_000)] = 1
    """How often each cell is measured."""
    order: Annotated[
        Annotated[OrderName, Tag("<name>")] | Annotated[Shuffled, Tag("<shuffled>")],
        Discriminator(lambda value: "<shuffled>" if isinstance(value, dict | Shuffled) else "<name>"),
    ] = "longest_first"
    """In which order the runs begin: `longest_first` repeats short cells by rounds, so that a burst of load cannot slow
    every repeat of one, begins long runs early, and saves loads; the others bind: `as_written` (the repeats of a cell
    side by side), `shuffled`, and `interleaved` (all cells before one is repeated)."""
    warmup: Warmup = Warmup()
    """Unmeasured generations before each window."""
    window: Window = Window()
    """The measured stretch."""
    prompts: Prompts = Prompts()
    """What the models are prompted with."""
    quality: QualityText | None = None
    """Perplexity beside the cost; null: not measured."""
    reference_precision: Precision | None = None
    """The precision that `perplexity_degradation` is against; null: the first of fp32, bf16, fp16 in the grid."""
    emissions: Emissions | None = None
    """Carbon intensity; null: energy is stated in joules alone."""
    timeout_s: PositiveFloat = 1800.0
    """Time after which a run is ended, its loading included. Unit: s."""
    device: Device = "auto"
    """Where the models run: `auto` takes CUDA where the cluster has GPUs."""
    isolation: Literal["reuse", "fresh"] = "reuse"
    """Whether a process that a run left unchanged goes on to the next run, or each run has one of its own."""
    max_attempts: PositiveInt = 3
    """Tries of a run whose process or node was lost."""
    max_node_failures: PositiveInt = 3
    """Losses in a row, each of another cell, after which a node is set aside."""
    placement: Placement = Placement()
    """Where processes go."""
    out: Annotated[str, Field(min_length=1, max_length=1000)] = "results/{name}"
    """Folder or URL of the results; `{name}` and `{date}` are filled in: today, or the environment's `JOULEGRID_DATE`,
    so that what is started again after midnight goes on there. A relative one begins where one stands."""

    @field_validator("out")
    @classmethod
    def _known_placeholders(cls, value: str) -> str:
        try:
            found = [
                f"{field}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}"
                for _, field, spec, conversion in string.Formatter().parse(value)
                if field is not None
            ]
        except ValueError as error:
            raise _said(f"{value!r} has unbalanced braces") from error
        for field in found:
            if field not in PLACEHOLDERS:
                raise _said(f"unknown placeholder {{{field}}}{did_you_mean(field, PLACEHOLDERS)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [
            *_group_problems(self),
            *_option_problems(self),
            *_measure_problems(self),
            *_card_problems(self),
            *_reference_problems(self),
        ]
        if problems:
            raise _wrong(*problems)
        return self


def _group_problems(sweep: SweepFile) -> _Found:
    """Settings that two places claim, and members that do not name a model or precision as the others do."""
    owner = {key: f"axes.{key}" for key in sweep.axes}
    if sweep.precisions is not None:
        owner["precision"] = "precisions"
    found: _Found = []
    for index, group in enumerate(sweep.groups):
        keys = dict.fromkeys(key for member in group for key in member)
        for place, member in enumerate(group):
            here = ("groups", index, place)
            found += [
                ((*here, key), f"two keys with one meaning: {owner[key]} sets it too") for key in member if key in owner
            ]
            lacking = [key for key in ("model", "precision") if key in keys and key not in member]
            found += [(here, f"has no {key!r}, but others of its group do") for key in lacking]
        owner |= dict.fromkeys(keys, f"groups[{index}]")
    if "precision" not in owner:
        found.append((("precisions",), "is required, unless the members of a group set `precision`"))
    return found


def _option_problems(sweep: SweepFile) -> _Found:
    """Arguments of loading that no model takes. What a model's own code takes, nobody knows before it runs."""
    if any(model.trust_remote_code for model in sweep.models):
        return []
    places: list[tuple[Path, Mapping[str, object]]] = [(("axes",), sweep.axes)]
    places += [(("groups", g, m), member) for g, group in enumerate(sweep.groups) for m, member in enumerate(group)]
    return [((*place, key), reason) for place, keys in places for key in keys if (reason := unknown_loading(key))]


def _measure_problems(sweep: SweepFile) -> _Found:
    """Settings of the measurement that contradict one another."""
    warmup, window = sweep.warmup, sweep.window
    found: _Found = []
    if warmup.floor > warmup.cap:
        found.append((("warmup", "floor"), f"{warmup.floor} is more than cap ({warmup.cap})"))
    if warmup.cv is not None and warmup.floor < 2:
        found.append((("warmup", "floor"), "`cv` is taken over the last `floor` generations: at least 2"))
    if window.min_generations > window.max_generations:
        said = f"{window.min_generations} is more than max_generations ({window.max_generations})"
        found.append((("window", "min_generations"), said))
    return found


def _card_problems(sweep: SweepFile) -> _Found:
    """Words about cards that contradict `device` or one another."""
    placement = sweep.placement
    found: _Found = []
    if sweep.device == "cuda" and placement.gpus_per_process == 0:
        found.append((("placement", "gpus_per_process"), "0 leaves `device: cuda` without a card"))
    if sweep.device == "cpu" and placement.one_row_per_card:
        found.append((("placement", "one_row_per_card"), "no card is used with `device: cpu`"))
    if sweep.device == "cpu" and "accelerator_type" in sweep.axes:
        found.append((("axes", "accelerator_type"), "no card is used with `device: cpu`"))
    if sweep.device == "auto" and placement.wait_for_nodes_s:
        said = "while it waits for nodes, `device: auto` cannot tell what they will have: set `device` to cuda or cpu"
        found.append((("placement", "wait_for_nodes_s"), said))
    if placement.one_row_per_card and "accelerator_type" in sweep.axes:
        found.append(
            (("axes", "accelerator_type"), "two keys with one meaning: placement.one_row_per_card sets it too")
        )
    return found


def _reference_problems(sweep: SweepFile) -> _Found:
    """Whether there is a precision to hold perplexity against."""
    wanted = sweep.reference_precision
    if wanted is None:
        return []
    if sweep.quality is None:
        return [(("reference_precision",), "perplexity is not measured: there is no `quality`")]
    if wanted not in grid_precisions(sweep):
        return [(("reference_precision",), f"{wanted!r} is not among the precisions of this sweep")]
    return []


def grid_precisions(sweep: SweepFile) -> tuple[Precision, ...]:
    """The precisions of the grid, wherever they stand."""
    return sweep.precisions or tuple(
        member["precision"] for group in sweep.groups for member in group if "precision" in member
    )


class SweepConfig(SweepFile):
    """A sweep file that was checked, and whose files were read: all that the rest of the program needs to know."""

    specs: tuple[ModelSpec, ...]
    """The models, with folders resolved and fingerprinted, in the order of `models`."""
    text_prompts: TextPrompts | None = None
    """The prompts of cells, where they come from a file."""
    prompt_texts: tuple[str, ...] = Field(default=(), repr=False)
    """The texts of `prompts.file`."""
    quality_spec: Quality | None = None
    """How cells measure perplexity."""
    quality_text: str | None = Field(default=None, repr=False)
    """The text of `quality.text`."""
    sweep_hash: str
    """16 hex digits over everything that bears on the figures: all but `out`, with the files' contents."""
    out_date: dt.date | None = Field(default=None, exclude=True)
    """The date in `out`; null where it has none."""
    origin: Origin = Field(default=Origin(), repr=False, exclude=True)
    """The file, for errors that are found later."""

    @property
    def degradation_against(self) -> Precision | None:
        """The precision that `perplexity_degradation` is against; null without quality or without a plain precision."""
        if self.quality is None:
            return None
        present = grid_precisions(self)
        plain: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
        return self.reference_precision or next((kind for kind in plain if kind in present), None)
