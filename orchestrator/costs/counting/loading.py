"""Check of `load` options, before a run takes a GPU."""

import difflib
from collections.abc import Mapping
from typing import Any

from orchestrator.config.transformers_names import NAMES
from orchestrator.costs.plausible import check_fields
from workers.records import ModelSpec
from workers.records.errors import ModelLoadError


def check(model: ModelSpec, load: Mapping[str, Any]) -> None:
    """Check that each option of `load` is an argument of `from_pretrained` or a field of the model's config.

    The options of a model's own code are unknown, so they are not checked.

    Raises:
        ModelLoadError: an option is neither.
    """
    options = {name: value for name, value in load.items() if name not in NAMES.loading}
    if not options or model.trust_remote_code or not NAMES.are_all:
        return
    try:
        family, unused = _unused(model, options)
    except Exception:  # `model_config.read` reports errors of the config
        return
    for name in sorted(unused):
        fields = {field for field in getattr(family, "__dataclass_fields__", ()) if not field.startswith("_")}
        matches = difflib.get_close_matches(name, NAMES.loading | fields, n=1)
        hint = f"; did you mean {matches[0]!r}?" if matches else ""
        raise ModelLoadError(
            f"model {model.name!r}: load.{name} is neither an argument of from_pretrained nor a field of "
            f"{family.__name__}{hint}"
        )


def _unused(model: ModelSpec, options: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The model's config class, and the options that it does not use."""
    from transformers import PretrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    fields = dict(model.config or PretrainedConfig.get_config_dict(model.source, revision=model.revision)[0])
    check_fields(model.name, {**fields, **options})  # before transformers makes lists with an entry per layer
    family = CONFIG_MAPPING[fields.pop("model_type")]
    return family, family.from_dict(fields, return_unused_kwargs=True, **options)[1]
