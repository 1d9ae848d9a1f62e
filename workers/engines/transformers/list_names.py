"""List the options and model types of the installed transformers, for `orchestrator.config.transformers_names`.

python -m workers.engines.transformers.list_names > orchestrator/config/transformers_names.json
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import transformers
from transformers import GenerationConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

_NO_OPTIONS = {"pretrained_model_name_or_path", "model_args", "kwargs", "transformers_version"}


def names() -> dict[str, Any]:
    """The fields of `orchestrator.config.transformers_names.Names`."""
    lists = {
        "generation": GenerationConfig().to_dict(),
        "loading": [*_arguments(PreTrainedModel.from_pretrained), *_arguments(_BaseAutoModelClass.from_pretrained)],
        "config_fields": (name for model_type in CONFIG_MAPPING_NAMES for name in _fields(CONFIG_MAPPING[model_type])),
        "model_types": CONFIG_MAPPING_NAMES,
        "causal_types": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    }
    return {"transformers": transformers.__version__} | {key: _public(all_names) for key, all_names in lists.items()}


def _public(all_names: Iterable[str]) -> list[str]:
    return sorted({name for name in all_names if not name.startswith("_")} - _NO_OPTIONS)


def _arguments(function: Callable[..., Any]) -> list[str]:
    """The named arguments of a function, and those that it takes out of its `kwargs`."""
    taken = re.findall(r'kwargs\.(?:pop|get)\(\s*"(\w+)"', inspect.getsource(function))
    listed = re.findall(r'^\s*"(\w+)",$', inspect.getsource(function), re.MULTILINE)  # of hub_kwargs_names
    return [*inspect.signature(function).parameters, *taken, *listed]


def _fields(config: Any) -> Iterable[str]:
    return [*getattr(config, "__dataclass_fields__", ()), *inspect.signature(config.__init__).parameters,
            *getattr(config, "attribute_map", {})]  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(names(), indent=0))
