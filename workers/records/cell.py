"""What to measure: one point of the grid, and every setting that its identity depends on."""

import hashlib
import json
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, JsonValue, PositiveFloat, PositiveInt, model_validator

from workers.records.base import Record
from workers.records.precision import Precision

Size = Annotated[int, Field(gt=0, lt=2**31)]
"""Size of a batch, a prompt or a gang; fits into a 32-bit integer."""

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
    """Whether code that comes with the model may run. Off by default."""
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
    """The generator's seed: the same cell gets the same tokens in every repeat of every sweep."""


class TextPrompts(Record):
    """Prompts from a file's texts, tokenised and cut to at most `input_tokens`; padding is never counted."""

    kind: Literal["text"] = "text"
    sha256: str
    """Digest of the texts, so that a changed file is a changed cell."""
    file: str
    """The file the texts came from, as the sweep names it."""


class Warmup(Record):
    """Unmeasured generations before the window: a fixed number, or until the times settle."""

    cv: PositiveFloat | None = None
    """Stop once the times of the last `floor` generations have a coefficient of variation below this; null: never."""
    floor: int = Field(default=1, ge=0)
    """Minimum number of generations; with `cv` null, the exact number."""
    cap: PositiveInt = 20
    """Maximum number of generations, settled or not."""


class Window(Record):
    """The measured window: whole generations until the figures are certain enough, or a limit is reached."""

    relative_uncertainty: PositiveFloat = 0.02
    """The window grows until the 95 % uncertainty of time, and of energy if it is measured, is below this share."""
    min_generations: PositiveInt = 3
    """Minimum number of generations."""
    max_generations: PositiveInt = 1000
    """Maximum number of generations."""
    max_s: PositiveFloat = 30.0
    """No further generation starts once the window has lasted this long. Unit: s."""


class Quality(Record):
    """Perplexity of a text, measured with a sliding window."""

    sha256: str
    """Digest of the text."""
    file: str
    """The file the text came from, as the sweep names it."""
    context_tokens: PositiveInt = 512
    """Length of the sliding window. Unit: tokens."""
    stride_tokens: PositiveInt = 256
    """How far the window moves each time; only the tokens that it newly covers are scored. Unit: tokens."""
    max_tokens: PositiveInt = 8192
    """Maximum number of tokens of the text to score. Unit: tokens."""


class Cell(Record):
    """One point of the grid: *what* to measure, never how often or where.

    `cell_id` is a hash over every field that differs from its default, so a field added later does not change old
    ids. A default must therefore never change its meaning.
    """

    model: ModelSpec
    precision: Precision
    engine: str = "transformers"
    """The engine that generates: `transformers`, `fake`, or `MODULE:NAME` of another backend."""
    batch_size: Size = 1
    """Sequences per generation, over all data-parallel processes together."""
    input_tokens: Size = 128
    """Prompt tokens per sequence. Unit: tokens."""
    output_tokens: Size = 32
    """New tokens per sequence, exactly this many. Unit: tokens."""
    attention: Attention = "sdpa"
    """The requested attention implementation."""
    device: Device = "auto"
    """Where the model runs: `auto` uses CUDA if the cluster has GPUs."""
    load: dict[str, JsonValue] = {}
    """Further arguments of `from_pretrained` / `from_config`."""
    generate: dict[str, JsonValue] = {}
    """Further fields of the GenerationConfig."""
    prompts: RandomPrompts | TextPrompts = Field(default=RandomPrompts(), discriminator="kind")
    warmup: Warmup = Warmup()
    window: Window = Window()
    quality: Quality | None = None
    """How to measure perplexity; null: not at all."""
    processes: Size = 1
    """Data-parallel ranks, each with its own replica and its share of the batch."""
    tensor_parallel: Size = 1
    """Number of GPUs that one replica is split over."""
    accelerator_type: str | None = None
    """The GPU type that the cell is pinned to, by Ray's name (`A100`, `H100`...); null: any."""

    @cached_property
    def cell_id(self) -> str:
        """Hash of the cell's settings: 16 hex digits."""
        return digest(self.model_dump(mode="json", exclude_defaults=True))

    @property
    def world_size(self) -> int:
        """Processes of one run of this cell."""
        return self.processes * self.tensor_parallel

    @property
    def config_overrides(self) -> dict[str, JsonValue]:
        """The loading options that may replace fields of the model's config: all but `quantization_config`."""
        return {name: value for name, value in self.load.items() if name != "quantization_config"}

    @cached_property
    def model_key(self) -> str:
        """Equal for two cells that run the same architecture with the same weights, in any precision."""
        return digest([self.model.model_dump(mode="json"), self.config_overrides])

    @cached_property
    def load_key(self) -> str:
        """Equal for two cells that can share one loaded model."""
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
