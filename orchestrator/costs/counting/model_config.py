"""Reading a model's config from the hub, a folder or the sweep."""

import difflib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.costs.plausible import check_fields, check_sizes
from workers.records import ModelSpec
from workers.records.errors import ModelLoadError, one_line


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A config, and whether transformers can build its architecture."""

    config: Any
    """transformers' config object; a plain `PretrainedConfig` if `unknown` is set."""
    trust_remote_code: bool = False
    unknown: str | None = None
    """Why transformers cannot build this architecture; null if it can."""
    cannot_run: str | None = None
    """Why no run of this model can succeed; null if no reason is known."""
    remarks: tuple[str, ...] = ()
    """Notes on what the figures include."""

    @property
    def text(self) -> Any:
        """The part that describes the language model, without vision and audio towers."""
        from transformers import PretrainedConfig

        text = self.config.get_text_config(decoder=True)
        return PretrainedConfig(**text) if isinstance(text, dict) else text  # a dict if the architecture is unknown

    def breakpoints(self, until: int) -> Iterator[int]:
        """Numbers of cached tokens, up to `until`, at which the cost of a decode pass may change.

        These are all whole numbers in the config (sliding windows, trained lengths, block sizes), because no list of
        names is complete. They include multiples of sizes that repeat as the sequence grows.
        """
        top = {name: value for name, value in self.config.to_dict().items() if not isinstance(value, dict)}
        for name, number in _numbers({**top, "text": self.text.to_dict()}):
            if 1 < number <= until:
                repeated = any(word in name for word in _REPEATED) and until // number <= _MOST_REPEATS
                yield from range(number, until + 1, number) if repeated else (number,)


_REPEATED = ("chunk", "window", "block", "compress", "local_attention")
"""Parts of the names of fields whose multiples are breakpoints."""

_MOST_REPEATS = 16
"""Most multiples per field; with more, the probes between breakpoints detect the repetition."""


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
    elif isinstance(value, int) and not isinstance(value, bool):  # may be too large for a float
        yield name, value


def read(model: ModelSpec, load: Mapping[str, Any] = {}) -> ModelConfig:
    """Read the config of `model`; fields that `load` names override it.

    Raises:
        ModelLoadError: the config is not available (no such folder, no answer from the hub), has no `model_type`, or is
            not of a causal language model.
        EstimateError: the model is too large to count.
    """
    import transformers
    from transformers import PretrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    transformers.logging.set_verbosity_error()
    try:
        fields = dict(model.config or PretrainedConfig.get_config_dict(model.source, revision=model.revision)[0])
    except Exception as error:
        raise ModelLoadError(f"model {model.name!r}: config not available: {one_line(error)}") from error
    if not isinstance(fields.get("model_type"), str):
        raise ModelLoadError(f"model {model.name!r}: its config has no model_type, such as llama")
    # Quantisation of weights changes no product, and its libraries may not be installed on this machine.
    fields, load = ({k: v for k, v in each.items() if k != "quantization_config"} for each in (fields, load))
    check_fields(model.name, {**fields, **load})
    remarks = tuple(_ignored_options({**_own_generation(model), **fields}))
    if model.trust_remote_code and "auto_map" in fields:
        return _checked(model, ModelConfig(config=_trusted(model, load), trust_remote_code=True, remarks=remarks))
    model_type = fields["model_type"]
    if model_type in _causal():
        return _checked(model, ModelConfig(config=_known(model, fields, load), remarks=remarks))
    if model_type in CONFIG_MAPPING_NAMES:
        return _checked(model, _language_model_of(model, fields, load, remarks))
    if "auto_map" in fields:
        hint = "; the model's own code is not trusted (trust_remote_code)"
    else:
        matches = difflib.get_close_matches(model_type, _causal(), n=1)
        hint = f"; did you mean {matches[0]!r}?" if matches else ""
    unknown = f"transformers {transformers.__version__} has no causal language model of type {model_type!r}{hint}"
    overrides = {name: value for name, value in load.items() if name in fields}
    config = PretrainedConfig(**(fields | overrides))
    return _checked(model, ModelConfig(config=config, unknown=unknown, cannot_run=unknown, remarks=remarks))


def _checked(model: ModelSpec, read: ModelConfig) -> ModelConfig:
    if not (read.unknown or read.trust_remote_code):
        _check_parts(model, read.config)
    check_sizes(model.name, read.text)
    return read


def _check_parts(model: ModelSpec, config: Any) -> None:
    """Refuse a nested text config in an architecture without one, because transformers cannot read it."""
    from transformers import PretrainedConfig

    for name in ("decoder", "generator", "text_config"):  # where transformers looks for a text config
        part = getattr(config, name, None)
        if part is not None and not isinstance(part, PretrainedConfig):
            raise ModelLoadError(
                f"model {model.name!r}: config.{name}: {config.model_type!r} has no such part; "
                "remove it, or set the model_type that has one"
            )


def _causal() -> Collection[str]:
    """Model types that transformers has a causal language model for."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    names: Collection[str] = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return names


def _language_model_of(
    model: ModelSpec, fields: Mapping[str, Any], load: Mapping[str, Any], remarks: tuple[str, ...]
) -> ModelConfig:
    """The causal language model inside another architecture, such as one for images or audio.

    Raises:
        ModelLoadError: the architecture contains none.
    """
    model_type = fields["model_type"]
    try:
        whole = _known(model, fields, load)
    except ModelLoadError:
        whole = None  # it consists of two configs without defaults
    encodes = model_type.endswith("encoder-decoder") or getattr(whole, "is_encoder_decoder", False)
    text = whole and whole.get_text_config(decoder=True)
    if encodes or text is None or text.model_type not in _causal():
        problem = "is an encoder-decoder" if encodes else "is not a causal language model"
        raise ModelLoadError(
            f"model {model.name!r}: {model_type!r} {problem}; only causal language models are measured"
        )
    return ModelConfig(
        config=text,
        cannot_run=f"{model_type!r} is not a causal language model; only its text_config ({text.model_type!r}) is one",
        remarks=(f"only the language model in its text_config ({text.model_type}) is counted", *remarks),
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
"""Options of `generate` that change what is computed, each with its neutral values."""


def _ignored_options(own: Mapping[str, Any]) -> Iterator[str]:
    """A note for each option in the model's own configs that the worker overrides in its call of `generate`."""
    for name, neutral in _NEUTRAL.items():
        if name in own and own[name] not in neutral:
            yield f"the model's own {name}: {own[name]} has no effect: runs take this option only from the sweep"


def _own_generation(model: ModelSpec) -> dict[str, Any]:
    """The generation config that comes with a model; empty if there is none."""
    from transformers.utils import cached_file

    if model.source is None:
        return {}
    try:
        file = cached_file(model.source, "generation_config.json", revision=model.revision)
        fields = json.loads(Path(str(file)).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # usually no such file; only a remark depends on it
        return {}
    return fields if isinstance(fields, dict) else {}


def _trusted(model: ModelSpec, load: Mapping[str, Any]) -> Any:
    """The config object of an architecture that comes with its own code."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model.source, revision=model.revision, trust_remote_code=True, **load)
    except Exception as error:
        raise ModelLoadError(f"model {model.name!r}: its config is invalid: {one_line(error)}") from error


def _known(model: ModelSpec, fields: Mapping[str, Any], load: Mapping[str, Any]) -> Any:
    """The config object of an architecture of transformers, with the overrides that `from_pretrained` applies."""
    from transformers import AutoConfig

    try:
        family = type(AutoConfig.for_model(fields["model_type"]))
        return family.from_dict({name: value for name, value in fields.items() if name != "model_type"}, **load)
    except Exception as error:
        raise ModelLoadError(f"model {model.name!r}: its config is invalid: {one_line(error)}") from error
