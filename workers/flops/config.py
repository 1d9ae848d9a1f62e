"""Reading a model's config: from the hub, a folder, or the sweep itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from workers.errors import ModelLoadError, one_line
from workers.records import ModelSpec


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A config, and whether transformers knows the architecture that it is for."""

    config: Any
    """transformers' config object; a plain `PretrainedConfig` where `unknown` says why it is no more than that."""
    trust_remote_code: bool = False
    unknown: str | None = None
    """Why transformers cannot build this architecture; null where it can."""

    @property
    def text(self) -> Any:
        """The part that describes the language model: vision and audio towers have their own."""
        return self.config.get_text_config(decoder=True)

    @property
    def bends(self) -> Iterable[int]:
        """Numbers of cached tokens around which a decode pass may begin to cost differently: full sliding windows."""
        for name in ("sliding_window", "attention_chunk_size", "sliding_window_size", "local_attention", "window_size"):
            window = getattr(self.text, name, None)
            if isinstance(window, int) and window > 1:
                yield from (window - 1, window, window + 1)


def read(model: ModelSpec, load: Mapping[str, Any] = {}) -> ModelConfig:
    """Read the config of `model`, with those of its fields replaced that `load` names.

    Raises:
        ModelLoadError: there is no config to be had: no such folder, a hub that does not answer, no `model_type`.
    """
    import transformers
    from transformers import PretrainedConfig

    transformers.logging.set_verbosity_error()
    try:
        fields = dict(model.config or PretrainedConfig.get_config_dict(model.source, revision=model.revision)[0])
    except Exception as error:
        raise ModelLoadError(f"model {model.name!r}: no config to be had: {one_line(error)}") from error
    if not isinstance(fields.get("model_type"), str):
        raise ModelLoadError(f"model {model.name!r}: its config has no model_type (e.g. llama)")
    # What quantises weights changes no product; some of its libraries are not even there on the machine that costs.
    fields, load = ({k: v for k, v in each.items() if k != "quantization_config"} for each in (fields, load))
    if unknown := _unknown(model, fields):
        bent = {name: value for name, value in load.items() if name in fields}
        return ModelConfig(config=PretrainedConfig(**(fields | bent)), unknown=unknown)
    try:
        return ModelConfig(config=_known(model, fields, load), trust_remote_code=model.trust_remote_code)
    except Exception as error:
        raise ModelLoadError(f"model {model.name!r}: its config does not fit: {one_line(error)}") from error


def _unknown(model: ModelSpec, fields: Mapping[str, Any]) -> str | None:
    """Why transformers cannot build the architecture; null where it can, if need be by the model's own trusted code."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if model.trust_remote_code and "auto_map" in fields:
        return None
    kind = fields["model_type"]
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return None
    own_code = ", and the code that comes with it is not trusted" if "auto_map" in fields else ""
    return f"transformers {transformers.__version__} has no causal language model of type {kind!r}{own_code}"


def _known(model: ModelSpec, fields: Mapping[str, Any], load: Mapping[str, Any]) -> Any:
    """The config object of an architecture that can be built, bent as `from_pretrained` does."""
    from transformers import AutoConfig

    if model.trust_remote_code and "auto_map" in fields:
        return AutoConfig.from_pretrained(model.source, revision=model.revision, trust_remote_code=True, **load)
    family = type(AutoConfig.for_model(fields["model_type"]))
    return family.from_dict({name: value for name, value in fields.items() if name != "model_type"}, **load)
