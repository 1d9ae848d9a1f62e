"""What to measure: one point of the grid, and everything that its identity depends on."""

import hashlib
import json
from functools import cached_property
from typing import Annotated, Literal, get_args

from pydantic import Field, JsonValue, PositiveFloat, PositiveInt, model_validator

from workers.records._base import Record

Precision = Literal["fp32", "tf32", "fp16", "bf16", "int8-bnb", "int4-bnb", "int8-torchao", "fp8-torchao"]
"""The kinds of the `precisions` axis. `int4-bnb` is NF4; the torchao kinds are weight-only."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Size = Annotated[int, Field(gt=0, lt=2**31)]
"""Of a batch, a prompt or a gang; no computer holds more, and every column of integers does."""

Attention = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]
Device = Literal["auto", "cuda", "cpu"]


class ModelSpec(Record):
    """Where a model comes from: a hub id or folder (`source`), or a transformers `config` with random weights."""

    name: str
    """What the results call this model."""
    source: str | None = None
    """Hub id or local folder; null where the model is built from `config`."""
    config: dict[str, JsonValue] | None = None
    """A transformers config (with `model_type`) to build with random weights; null where there is a `source`."""
    revision: str | None = None
    """The hub's branch, tag or commit."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run. Off unless the sweep says so."""
    fingerprint: str | None = None
    """SHA-256 over a local folder's files, so that changed weights are measured anew; else null."""

    @model_validator(mode="after")
    def _one_origin(self) -> "ModelSpec":
        if (self.source is None) == (self.config is None):
            raise ValueError("a model has either a source (hub id or folder) or a config, not both and not neither")
        return self


class RandomPrompts(Record):
    """Prompts of uniformly random token ids, each exactly `input_tokens` long."""

    kind: Literal["random"] = "random"
    seed: int = 0
    """The generator's seed: the same cell gets the same tokens in every repeat and on every night."""


class TextPrompts(Record):
    """Prompts from a file's texts, tokenised and cut to at most `input_tokens`; padding is never counted."""

    kind: Literal["text"] = "text"
    sha256: str
    """Digest of the texts, so that a changed file is a changed cell."""
    file: str
    """The file the texts came from, as the sweep names it."""


class Warmup(Record):
    """Unmeasured generations before the window: a fixed count, or until the times settle."""

    cv: PositiveFloat | None = None
    """Stop once the last `floor` generations' times have a coefficient of variation under this; null: fixed count."""
    floor: int = Field(default=1, ge=0)
    """Generations made at least; with `cv` null, exactly this many."""
    cap: PositiveInt = 20
    """Generations made at most, settled or not."""


class Window(Record):
    """The measured stretch: whole generations until the figures are certain enough, or a cap is reached."""

    relative_uncertainty: PositiveFloat = 0.02
    """The window grows until the 95 % uncertainty of time, and of energy where it is measured, is under this share."""
    min_generations: PositiveInt = 3
    """Generations measured at least."""
    max_generations: PositiveInt = 1000
    """Generations measured at most."""
    max_s: PositiveFloat = 30.0
    """No further generation is begun once the window has lasted this long. Unit: s."""


class Quality(Record):
    """Perplexity over a text, by a sliding window."""

    sha256: str
    """Digest of the text."""
    file: str
    """The file the text came from, as the sweep names it."""
    context_tokens: PositiveInt = 512
    """Length of the sliding window. Unit: tokens."""
    stride_tokens: PositiveInt = 256
    """How far the window moves: only the tokens it newly covers are scored. Unit: tokens."""
    max_tokens: PositiveInt = 8192
    """Tokens of the text scored at most. Unit: tokens."""


class Cell(Record):
    """One point of the grid: *what* to measure, never how often or where.

    `cell_id` is a hash over every field that differs from its default, so a field added later does not change old
    ids. A default must therefore never change its meaning.
    """

    model: ModelSpec
    precision: Precision
    batch_size: Size = 1
    """Sequences per generation, over all data-parallel processes together."""
    input_tokens: Size = 128
    """Prompt tokens per sequence. Unit: tokens."""
    output_tokens: Size = 32
    """New tokens per sequence, exactly this many. Unit: tokens."""
    attention: Attention = "sdpa"
    """The attention implementation that transformers is asked for."""
    device: Device = "auto"
    """Where the model runs: `auto` takes CUDA where the cluster has GPUs."""
    load: dict[str, JsonValue] = {}
    """Further arguments of `from_pretrained` / `from_config`."""
    generate: dict[str, JsonValue] = {}
    """Further fields of the GenerationConfig."""
    prompts: RandomPrompts | TextPrompts = Field(default=RandomPrompts(), discriminator="kind")
    warmup: Warmup = Warmup()
    window: Window = Window()
    quality: Quality | None = None
    """Whether and how perplexity is measured beside the cost; null: not at all."""
    processes: Size = 1
    """Data-parallel ranks, each with its own replica and its share of the batch."""
    tensor_parallel: Size = 1
    """GPUs that one replica is split over."""
    accelerator_type: str | None = None
    """The card that the cell is pinned to, in Ray's words (`A100`, `H100`...); null: any."""

    @cached_property
    def cell_id(self) -> str:
        """16 hex digits over the cell's settings."""
        return digest(self.model_dump(mode="json", exclude_defaults=True))

    @property
    def world_size(self) -> int:
        """Processes of one run of this cell."""
        return self.processes * self.tensor_parallel

    @property
    def bends(self) -> dict[str, JsonValue]:
        """The options of loading that may replace fields of the model's config: all but how weights are quantised."""
        return {name: value for name, value in self.load.items() if name != "quantization_config"}

    @cached_property
    def model_key(self) -> str:
        """What must be equal for two cells to run one architecture with one set of weights, in whatever precision."""
        return digest([self.model.model_dump(mode="json"), self.bends])

    @cached_property
    def load_key(self) -> str:
        """What must be equal for two cells to share one loaded model."""
        names = {"model", "precision", "attention", "device", "load", "tensor_parallel"}
        return digest(self.model_dump(mode="json", include=names))


class Run(Record):
    """One execution of a cell."""

    cell: Cell
    repeat: int = Field(ge=0, lt=2**31)
    """0-based index of this repeat of the cell."""

    @property
    def key(self) -> str:
        """The run's name in the journal."""
        return f"{self.cell.cell_id}.{self.repeat}"


def digest(value: object) -> str:
    """16 hex digits of SHA-256 over `value` as canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
