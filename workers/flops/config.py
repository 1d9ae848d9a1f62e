"""Reading a model's config: from the hub, a folder, or the sweep itself."""

import difflib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.errors import ModelLoadError, one_line
from workers.flops.plausible import check_fields, check_sizes
from workers.records import ModelSpec


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A config, and whether transformers knows the architecture that it is for."""

    config: Any
    """transformers' config object; a plain `PretrainedConfig` where `unknown` says why it is no more than that."""
    trust_remote_code: bool = False
    unknown: str | None = None
    """Why transformers cannot build this architecture; null where it can."""
    cannot_run: str | None = None
    """Why the worker cannot run this model, whatever is asked of it; null where nothing is known against it."""
    remarks: tuple[str, ...] = ()
    """What a reader of the figures must know of what was counted."""

    @property
    def text(self) -> Any:
        """The part that describes the language model: vision and audio towers have their own."""
        from transformers import PretrainedConfig

        text = self.config.get_text_config(decoder=True)
        return PretrainedConfig(**text) if isinstance(text, dict) else text  # as of an architecture that nobody knows

    def breakpoints(self, until: int) -> Iterator[int]:
        """Numbers of cached tokens, up to `until`, at which a decode pass may begin to cost differently.

        Those are all whole numbers in the config, because no list of names is complete: sliding windows, the length
        that a model was trained at, blocks. Multiples too, of what is repeated as the sequence grows.
        """
        top = {name: value for name, value in self.config.to_dict().items() if not isinstance(value, dict)}
        for name, number in _numbers({**top, "text": self.text.to_dict()}):
            if 1 < number <= until:
                repeated = any(word in name for word in _REPEATED) and until // number <= _MOST_REPEATS
                yield from range(number, until + 1, number) if repeated else (number,)


_REPEATED = ("chunk", "window", "block", "compress", "local_attention")
"""Parts of the names of fields whose multiples matter."""

_MOST_REPEATS = 16
"""Past so many, repeats are what a probe between breakpoints meets."""


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number in a config, with the name of its field."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _numbers(part, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part, name)
    elif isinstance(value, float) and value.is_integer():
        yield name, int(value)
    elif isinstance(value, int) and not isinstance(value, bool):  # may be one that no float holds
        yield name, value


def read(model: ModelSpec, load: Mapping[str, Any] = {}) -> ModelConfig:
    """Read the config of `model`, with those of its fields replaced that `load` names.

    Raises:
        ModelLoadError: there is no config to be had (no such folder, a hub that does not answer, no `model_type`), or
            it describes no causal language model.
        EstimateError: the model is too large to be counted.
    """
    import transformers
    from transformers import PretrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    transformers.logging.set_verbosity_error()
    try:
        fields = dict(model.config or PretrainedConfig.get_config_dict(model.source, revision=model.revision)[0])
    except Exception as error:
        raise ModelLoadError(f"model {model.name!r}: no config to be had: {one_line(error)}") from error
    if not isinstance(fields.get("model_type"), str):
        raise ModelLoadError(f"model {model.name!r}: its config has no model_type (e.g. llama)")
    # What quantises weights changes no product; some of its libraries are not even there on the machine that costs.
    fields, load = ({k: v for k, v in each.items() if k != "quantization_config"} for each in (fields, load))
    check_fields(model.name, {**fields, **load})
    remarks = tuple(_not_taken({**_own_generation(model), **fields}))
    if model.trust_remote_code and "auto_map" in fields:
        return _checked(model, ModelConfig(config=_trusted(model, load), trust_remote_code=True, remarks=remarks))
    kind = fields["model_type"]
    if kind in _causal():
        return _checked(model, ModelConfig(config=_known(model, fields, load), remarks=remarks))
    if kind in CONFIG_MAPPING_NAMES:
        return _checked(model, _language_model_of(model, fields, load, remarks))
    own_code = ", and the code that comes with it is not trusted" if "auto_map" in fields else ""
    near = difflib.get_close_matches(kind, _causal(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near and not own_code else ""
    unknown = f"transformers {transformers.__version__} has no causal language model of type {kind!r}{own_code}{hint}"
    bent = {name: value for name, value in load.items() if name in fields}
    config = PretrainedConfig(**(fields | bent))
    return _checked(model, ModelConfig(config=config, unknown=unknown, cannot_run=unknown, remarks=remarks))


def _checked(model: ModelSpec, read: ModelConfig) -> ModelConfig:
    if not (read.unknown or read.trust_remote_code):
        _check_parts(model, read.config)
    check_sizes(model.name, read.text)
    return read


def _check_parts(model: ModelSpec, config: Any) -> None:
    """Refuse a text model's mapping within an architecture that has none: transformers fails at looking into it."""
    from transformers import PretrainedConfig

    for name in ("decoder", "generator", "text_config"):  # where transformers looks, and finds whatever was written
        part = getattr(config, name, None)
        if part is not None and not isinstance(part, PretrainedConfig):
            raise ModelLoadError(
                f"model {model.name!r}: config.{name}: {config.model_type!r} has no such part; leave it out, "
                "or name the model_type that has one"
            )


def _causal() -> Collection[str]:
    """Types of model that transformers has a causal language model for."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    names: Collection[str] = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return names


def _language_model_of(
    model: ModelSpec, fields: Mapping[str, Any], load: Mapping[str, Any], remarks: tuple[str, ...]
) -> ModelConfig:
    """The causal language model within an architecture that is none, as images' and audio's have.

    Raises:
        ModelLoadError: there is none within.
    """
    kind = fields["model_type"]
    try:
        whole = _known(model, fields, load)
    except ModelLoadError:
        whole = None  # made of two configs that have no defaults
    both = kind.endswith("encoder-decoder") or getattr(whole, "is_encoder_decoder", False)
    text = whole and whole.get_text_config(decoder=True)
    if both or text is None or text.model_type not in _causal():
        what = "is an encoder-decoder" if both else "is no causal language model"
        raise ModelLoadError(f"model {model.name!r}: {kind!r} {what}; only causal language models are measured")
    return ModelConfig(
        config=text,
        cannot_run=f"{kind!r} is no causal language model; the one in its text_config, {text.model_type!r}, is",
        remarks=(f"counted is the language model in its text_config ({text.model_type}) alone", *remarks),
    )


_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "guidance_scale": (None, 1),
    "cache_implementation": (None, "dynamic"),
    "prompt_lookup_num_tokens": (None,),
    "prefill_chunk_size": (None,),
    "num_beams": (None, 1),
    "num_return_sequences": (None, 1),
    "penalty_alpha": (None, 0),
    "dola_layers": (None,),
    "assistant_early_exit": (None,),
    "use_cache": (None, True),
}
"""Options of generating that change what is computed, each with the values that do not."""


def _not_taken(own: Mapping[str, Any]) -> Iterator[str]:
    """Options that a model brings along, and that the worker's own call of `generate` replaces by the defaults."""
    for name, neutral in _NEUTRAL.items():
        if name in own and own[name] not in neutral:
            yield f"the model's own {name}: {own[name]} has no effect: runs take such options from the sweep alone"


def _own_generation(model: ModelSpec) -> dict[str, Any]:
    """The generation config that comes with a model; empty where there is none."""
    from transformers.utils import cached_file

    if model.source is None:
        return {}
    try:
        file = cached_file(model.source, "generation_config.json", revision=model.revision)
        fields = json.loads(Path(str(file)).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no such file, most often; nothing depends on it but a remark
        return {}
    return fields if isinstance(fields, dict) else {}


def _trusted(model: ModelSpec, load: Mapping[str, Any]) -> Any:
    """The config object of an architecture that comes with its own code."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model.source, revision=model.revision, trust_remote_code=True, **load)
    except Exception as error:
        raise ModelLoadError(f"model {model.name!r}: its config does not fit: {one_line(error)}") from error


def _known(model: ModelSpec, fields: Mapping[str, Any], load: Mapping[str, Any]) -> Any:
    """The config object of an architecture that transformers has, bent as `from_pretrained` does."""
    from transformers import AutoConfig

    try:
        family = type(AutoConfig.for_model(fields["model_type"]))
        return family.from_dict({name: value for name, value in fields.items() if name != "model_type"}, **load)
    except Exception as error:
        raise ModelLoadError(f"model {model.name!r}: its config does not fit: {one_line(error)}") from error
