"""The settings that make a grid: which there are, what values they take, and what the measurement keeps for itself.

A setting is a field of `Cell` (`batch_size`...) or a dotted option that is handed on (`generate.top_p`, `load.x`).
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler, JsonValue, PlainValidator, TypeAdapter, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, PydanticKnownError

from orchestrator.config._problems import MOST, did_you_mean, nearest
from workers.names import NAMES
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
"""Settings that have a list of their own at the top of the file, and may be members of groups and rules."""

_OPTION: TypeAdapter[Any] = TypeAdapter(JsonValue)

_FIXED = {
    "generate.max_new_tokens": "say `output_tokens`",
    "generate.min_new_tokens": "say `output_tokens`",
    "generate.max_length": "say `output_tokens`",
    "generate.min_length": "say `output_tokens`",
    "generate.eos_token_id": "every cell generates exactly `output_tokens`, so that costs can be compared",
    "generate.forced_eos_token_id": "every cell generates exactly `output_tokens`, so that costs can be compared",
    "generate.stop_strings": "every cell generates exactly `output_tokens`, so that costs can be compared",
    "generate.max_time": "every cell generates exactly `output_tokens`, so that costs can be compared",
    "generate.use_cache": "cost is counted as one prefill and cached passes after it",
    "generate.streamer": "the measurement's own clock listens there",
    "generate.return_dict_in_generate": "the measurement reads the tokens alone",
    "generate.assistant_model": "a second model's work would be counted for the first",
    "generate.prompt_lookup_num_tokens": "speculated tokens would be work that no token is counted for",
    "load.attn_implementation": "say `attention`",
    "load.torch_dtype": "say `precisions`",
    "load.dtype": "say `precisions`",
    "load.load_in_8bit": "say `int8-bnb` in `precisions`",
    "load.load_in_4bit": "say `int4-bnb` in `precisions`",
    "load.device_map": "say `device`, `processes` or `tensor_parallel`",
    "load.tp_plan": "say `tensor_parallel`",
    "load.tp_size": "say `tensor_parallel`",
    "load.revision": "say `revision` under the model",
    "load.trust_remote_code": "say `trust_remote_code` under the model",
    "load.config": "say `config` under the model",
    "load.token": "secrets never stand in a sweep; set HF_TOKEN where the workers run",
    "load.use_auth_token": "secrets never stand in a sweep; set HF_TOKEN where the workers run",
}  # fmt: skip
"""Options that the measurement sets itself, with what to say in their place."""

_GENERATION, _LOADING = set(NAMES.generation), NAMES.loading | NAMES.config_fields
"""What options of each kind may be named; loading takes what its function does, and fields of the model's config."""

_MISPLACED = {
    "model": "the models are listed under `models` at the top",
    "models": "the models are listed under `models` at the top",
    "precision": "the precisions are listed under `precisions` at the top",
    "precisions": "the precisions are listed under `precisions` at the top",
    "generate": "write each option by itself, as `generate.top_p: 0.9`",
    "load": "write each option by itself, as `load.use_safetensors: true`",
}


def _unknown(key: str, known: Collection[str], lacks: str) -> str | None:
    """Why transformers would not know an option; null where it does, or may."""
    room, _, option = key.partition(".")
    if option in known:
        return None
    near = nearest(option, known, cutoff=0.7 if NAMES.are_all else 0.8)
    if near is None and not NAMES.are_all:
        return None
    return f"unknown option {key!r}; " + (f"did you mean '{room}.{near}'?" if near else f"{NAMES.source} has {lacks}")


def unknown_loading(key: str) -> str | None:
    """Why no model that transformers itself knows takes an option `load.NAME`; null where one does, or may."""
    if not key.startswith("load."):
        return None
    return _unknown(key, _LOADING, "no such argument of from_pretrained, nor any config with such a field")


def _kind(key: str, kinds: Mapping[str, TypeAdapter[Any]]) -> TypeAdapter[Any]:
    """The type of one value of the setting `key`; raises what is wrong with the key itself."""
    if key in kinds:
        return kinds[key]
    if key in _FIXED:
        raise PydanticCustomError("fixed", f"{key!r} cannot be set: {_FIXED[key]}")
    if key in _MISPLACED:
        raise PydanticCustomError("misplaced", f"{key!r} does not belong here: {_MISPLACED[key]}")
    room, _, option = key.partition(".")
    if room not in ("generate", "load") or not option.isidentifier():
        options = (*(f"generate.{name}" for name in _GENERATION), *(f"load.{name}" for name in NAMES.loading))
        raise PydanticCustomError("unknown", f"unknown setting {key!r}{did_you_mean(key, (*kinds, *_FIXED, *options))}")
    unknown = _unknown(key, _GENERATION, "no such field of GenerationConfig") if room == "generate" else None
    if unknown:
        raise PydanticCustomError("unknown", unknown)
    return _OPTION


_NOT_LOOKED_AT = PydanticCustomError("not_looked_at", "not looked at, for so many others are wrong")


def _checked(kinds: Mapping[str, TypeAdapter[Any]], *, many: bool) -> Callable[[object], dict[str, Any]]:
    """A validator of a mapping of settings that keeps the order written and collects everything that is wrong."""

    def check(raw: object) -> dict[str, Any]:
        if not isinstance(raw, dict):
            raise PydanticKnownError("dict_type")
        good: dict[str, Any] = {}
        wrong: list[InitErrorDetails] = []
        for key, value in raw.items():
            if len(wrong) >= MOST:  # looking for the nearest right word takes a while
                wrong.append(InitErrorDetails(type=_NOT_LOOKED_AT, loc=(key,), input=value))
                continue
            try:
                kind = _kind(key, kinds)
                good[key] = _values(kind, value) if many else kind.validate_python(value, strict=True)
            except PydanticCustomError as error:
                wrong.append(InitErrorDetails(type=error, loc=(key,), input=value))
            except ValidationError as error:
                wrong += [_moved(detail, (key,)) for detail in error.errors(include_url=False)]
        if wrong:
            raise ValidationError.from_exception_data("settings", wrong)
        return good

    return check


def _values(kind: TypeAdapter[Any], value: object) -> tuple[Any, ...]:
    """One value or a list of them, none twice, as a tuple."""
    if not isinstance(value, list | tuple):
        return (kind.validate_python(value, strict=True),)
    if not value:
        raise PydanticCustomError("empty", "the list is empty, so the grid is; leave the key out to have the default")
    good: dict[str, Any] = {}
    wrong: list[InitErrorDetails] = []
    for index, item in enumerate(value):
        try:
            one = kind.validate_python(item, strict=True)
        except ValidationError as error:
            wrong += [_moved(detail, (index,)) for detail in error.errors(include_url=False)]
            continue
        spelled = json.dumps(one, sort_keys=True)
        if spelled in good:
            twice = PydanticCustomError("twice", f"{one!r} is listed twice")
            wrong.append(InitErrorDetails(type=twice, loc=(index,), input=item))
        good[spelled] = one
    if wrong:
        raise ValidationError.from_exception_data("values", wrong)
    return tuple(good.values())


def _moved(detail: Any, prefix: tuple[str | int, ...]) -> InitErrorDetails:
    """An error found on its own, put where its value stands in the file."""
    kind = PydanticCustomError(detail["type"], detail["msg"]) if detail["type"] in _OWN else detail["type"]
    return InitErrorDetails(type=kind, loc=(*prefix, *detail["loc"]), input=detail["input"], ctx=detail.get("ctx", {}))


_OWN = {"twice", "empty"}


class _Schema:
    """The JSON Schema of a mapping of settings: the known keys, and any dotted option."""

    def __init__(self, kinds: Mapping[str, TypeAdapter[Any]], *, many: bool, least: int = 0) -> None:
        self.kinds, self.many, self.least = kinds, many, least

    def __get_pydantic_json_schema__(self, _core: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "type": "object",
            "properties": {key: self.one(key, kind) for key, kind in self.kinds.items()},
            "patternProperties": {r"^(generate|load)\.[A-Za-z_]\w*$": {}},
            "additionalProperties": False,
            "minProperties": self.least,
        }

    def one(self, key: str, kind: TypeAdapter[Any]) -> JsonSchemaValue:
        single = kind.json_schema()
        field = Cell.model_fields.get(key)
        several = {"type": "array", "items": single, "minItems": 1, "uniqueItems": True}
        schema: JsonSchemaValue = {"anyOf": [single, several]} if self.many else single
        return schema | ({"description": field.description} if field and field.description else {})


Axes = Annotated[dict[str, Any], PlainValidator(_checked(AXES, many=True)), _Schema(AXES, many=True)]
"""Setting -> tuple of its values, in the order written."""

_POINT = _OUTER | AXES

Point = Annotated[dict[str, Any], PlainValidator(_checked(_POINT, many=False)), _Schema(_POINT, many=False)]
"""Setting -> one value: settings that go together."""

Rule = Annotated[dict[str, Any], PlainValidator(_checked(_POINT, many=True)), _Schema(_POINT, many=True, least=1)]
"""Setting -> tuple of values that it matches."""
