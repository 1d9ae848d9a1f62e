"""The settings of a grid: their names, the values they take, and the options that JouleGrid sets itself.

A setting is a field of `Cell` (`batch_size`...) or a dotted option that is passed on (`generate.top_p`, `load.x`).
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler, JsonValue, PlainValidator, TypeAdapter, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, PydanticKnownError

from orchestrator.config.problems import MAX_LISTED, did_you_mean, nearest
from orchestrator.config.transformers_names import NAMES
from workers.records import Attention, Cell, Precision

_Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
_Text = Annotated[str, Field(min_length=1)]

AXES: dict[str, TypeAdapter[Any]] = {
    "batch_size": TypeAdapter(_Count),
    "input_tokens": TypeAdapter(_Count),
    "output_tokens": TypeAdapter(_Count),
    "attention": TypeAdapter(Attention),
    "processes": TypeAdapter(_Count),
    "tensor_parallel": TypeAdapter(_Count),
    "accelerator_type": TypeAdapter(_Text),
}
"""Settings that may be an axis, with the type of one value."""

_OUTER: dict[str, TypeAdapter[Any]] = {"model": TypeAdapter(_Text), "precision": TypeAdapter(Precision)}
"""Settings that have their own list at the top of the file. Groups and rules may set them too."""

_OPTION: TypeAdapter[Any] = TypeAdapter(JsonValue)

_FIXED = {
    "generate.max_new_tokens": "use `output_tokens`",
    "generate.min_new_tokens": "use `output_tokens`",
    "generate.max_length": "use `output_tokens`",
    "generate.min_length": "use `output_tokens`",
    "generate.eos_token_id": "every cell generates exactly `output_tokens`, so that costs can be compared",
    "generate.forced_eos_token_id": "every cell generates exactly `output_tokens`, so that costs can be compared",
    "generate.stop_strings": "every cell generates exactly `output_tokens`, so that costs can be compared",
    "generate.max_time": "every cell generates exactly `output_tokens`, so that costs can be compared",
    "generate.use_cache": "costs are counted for one prefill and cached passes after it",
    "generate.streamer": "the measurement uses it to time the tokens",
    "generate.return_dict_in_generate": "the measurement reads only the tokens",
    "generate.assistant_model": "the second model's work would count as the first model's",
    "generate.prompt_lookup_num_tokens": "rejected tokens would be work that no output token accounts for",
    "load.attn_implementation": "use `attention`",
    "load.torch_dtype": "use `precisions`",
    "load.dtype": "use `precisions`",
    "load.load_in_8bit": "use `int8-bnb` in `precisions`",
    "load.load_in_4bit": "use `int4-bnb` in `precisions`",
    "load.device_map": "use `device`, `processes` or `tensor_parallel`",
    "load.tp_plan": "use `tensor_parallel`",
    "load.tp_size": "use `tensor_parallel`",
    "load.revision": "use `revision` under the model",
    "load.trust_remote_code": "use `trust_remote_code` under the model",
    "load.config": "use `config` under the model",
    "load.token": "a sweep file must not hold secrets; set HF_TOKEN where the workers run",
    "load.use_auth_token": "a sweep file must not hold secrets; set HF_TOKEN where the workers run",
}  # fmt: skip
"""Options that JouleGrid sets itself -> what to use instead, or why."""

ACT = "generate.act"
"""What the fake engine does in a cell (`workers.engines.fake`)."""

_GENERATION, _LOADING = set(NAMES.generation), NAMES.loading | NAMES.config_fields
"""Valid names of `generate.` and `load.` options. Loading takes the function's arguments and the config's fields."""

_MISPLACED = {
    "model": "list the models under `models` at the top",
    "models": "list the models under `models` at the top",
    "precision": "list the precisions under `precisions` at the top",
    "precisions": "list the precisions under `precisions` at the top",
    "generate": "write each option on its own, such as `generate.top_p: 0.9`",
    "load": "write each option on its own, such as `load.use_safetensors: true`",
}


def _unknown(key: str, known: Collection[str], lacks: str) -> str | None:
    """Why transformers does not know an option; null where it does, or where a newer version may."""
    prefix, _, option = key.partition(".")
    if option in known:
        return None
    near = nearest(option, known, cutoff=0.7 if NAMES.are_all else 0.8)
    if near is None and not NAMES.are_all:
        return None
    return f"unknown option {key!r}; " + (f"did you mean '{prefix}.{near}'?" if near else f"{NAMES.source} has {lacks}")


def unknown_loading(key: str) -> str | None:
    """Why no model of transformers takes an option `load.NAME`; null where one does, or may."""
    if not key.startswith("load."):
        return None
    return _unknown(key, _LOADING, "no such from_pretrained argument and no config with such a field")


def _value_type(key: str, types: Mapping[str, TypeAdapter[Any]]) -> TypeAdapter[Any]:
    """The type of one value of the setting `key`; raises the problem of an invalid key."""
    if key in types:
        return types[key]
    if key == ACT:
        return _OPTION
    if key in _FIXED:
        raise PydanticCustomError("fixed", f"{key!r} cannot be set: {_FIXED[key]}")
    if key in _MISPLACED:
        raise PydanticCustomError("misplaced", f"{key!r} is not a setting: {_MISPLACED[key]}")
    prefix, _, option = key.partition(".")
    if prefix not in ("generate", "load") or not option.isidentifier():
        options = (*(f"generate.{name}" for name in _GENERATION), *(f"load.{name}" for name in NAMES.loading))
        raise PydanticCustomError("unknown", f"unknown setting {key!r}{did_you_mean(key, (*types, *_FIXED, *options))}")
    unknown = _unknown(key, _GENERATION, "no such GenerationConfig field") if prefix == "generate" else None
    if unknown:
        raise PydanticCustomError("unknown", unknown)
    return _OPTION


_NOT_CHECKED = PydanticCustomError("not_checked", "not checked, because too many others are invalid")


def _checker(types: Mapping[str, TypeAdapter[Any]], *, many: bool) -> Callable[[object], dict[str, Any]]:
    """A validator for a mapping of settings. It keeps the written order and collects every problem."""

    def check(raw: object) -> dict[str, Any]:
        if not isinstance(raw, dict):
            raise PydanticKnownError("dict_type")
        valid: dict[str, Any] = {}
        errors: list[InitErrorDetails] = []
        for key, value in raw.items():
            if len(errors) >= MAX_LISTED:  # the search for the nearest valid word is slow
                errors.append(InitErrorDetails(type=_NOT_CHECKED, loc=(key,), input=value))
                continue
            try:
                value_type = _value_type(key, types)
                valid[key] = _values(value_type, value) if many else value_type.validate_python(value, strict=True)
            except PydanticCustomError as error:
                errors.append(InitErrorDetails(type=error, loc=(key,), input=value))
            except ValidationError as error:
                errors += [_below(detail, (key,)) for detail in error.errors(include_url=False)]
        if errors:
            raise ValidationError.from_exception_data("settings", errors)
        return valid

    return check


def _values(value_type: TypeAdapter[Any], value: object) -> tuple[Any, ...]:
    """One value or a list of different values, as a tuple."""
    if not isinstance(value, list | tuple):
        return (value_type.validate_python(value, strict=True),)
    if not value:
        raise PydanticCustomError("empty", "the list is empty; add a value, or remove the key to use the default")
    valid: dict[str, Any] = {}
    errors: list[InitErrorDetails] = []
    for index, item in enumerate(value):
        try:
            one = value_type.validate_python(item, strict=True)
        except ValidationError as error:
            errors += [_below(detail, (index,)) for detail in error.errors(include_url=False)]
            continue
        canonical = json.dumps(one, sort_keys=True)
        if canonical in valid:
            twice = PydanticCustomError("twice", f"{one!r} is listed twice")
            errors.append(InitErrorDetails(type=twice, loc=(index,), input=item))
        valid[canonical] = one
    if errors:
        raise ValidationError.from_exception_data("values", errors)
    return tuple(valid.values())


def _below(detail: Any, prefix: tuple[str | int, ...]) -> InitErrorDetails:
    """The error of a value, with `prefix` before its path."""
    error_type = PydanticCustomError(detail["type"], detail["msg"]) if detail["type"] in _OWN else detail["type"]
    return InitErrorDetails(
        type=error_type, loc=(*prefix, *detail["loc"]), input=detail["input"], ctx=detail.get("ctx", {})
    )


_OWN = {"twice", "empty"}


class _Schema:
    """The JSON Schema of a mapping of settings: the known keys, and any dotted option."""

    def __init__(self, types: Mapping[str, TypeAdapter[Any]], *, many: bool, least: int = 0) -> None:
        self.types, self.many, self.least = types, many, least

    def __get_pydantic_json_schema__(self, _core: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "type": "object",
            "properties": {key: self.one(key, value_type) for key, value_type in self.types.items()},
            "patternProperties": {r"^(generate|load)\.[A-Za-z_]\w*$": {}},
            "additionalProperties": False,
            "minProperties": self.least,
        }

    def one(self, key: str, value_type: TypeAdapter[Any]) -> JsonSchemaValue:
        single = value_type.json_schema()
        field = Cell.model_fields.get(key)
        several = {"type": "array", "items": single, "minItems": 1, "uniqueItems": True}
        schema: JsonSchemaValue = {"anyOf": [single, several]} if self.many else single
        return schema | ({"description": field.description} if field and field.description else {})


Axes = Annotated[dict[str, Any], PlainValidator(_checker(AXES, many=True)), _Schema(AXES, many=True)]
"""Setting -> tuple of its values, in the written order."""

_POINT = _OUTER | AXES

Point = Annotated[dict[str, Any], PlainValidator(_checker(_POINT, many=False)), _Schema(_POINT, many=False)]
"""Setting -> one value: settings that belong together."""

Rule = Annotated[dict[str, Any], PlainValidator(_checker(_POINT, many=True)), _Schema(_POINT, many=True, least=1)]
"""Setting -> tuple of values that it matches."""
