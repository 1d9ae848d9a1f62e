"""Checks that a config describes a possible model: the FLOPs of an impossible one would look normal."""

import math
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn

from orchestrator.costs.config_fields import EXPERTS, HEADS, HIDDEN, KV_HEADS, LAYERS, SELECTED
from workers.records import Shape
from workers.records.errors import EstimateError, ModelLoadError
from workers.records.text import shortened

_SIZES = (*HIDDEN, *LAYERS, *HEADS, "vocab_size")
"""Every language model has one of each."""
_PARTS = (
    *KV_HEADS,
    *SELECTED,
    *EXPERTS,
    "head_dim",
    "intermediate_size",
    "ffn_dim",
    "n_inner",
    "d_ff",
    "moe_intermediate_size",
)
"""Sizes of optional parts, which may be 0 or null."""

_ALWAYS_SIZES = frozenset((*_SIZES, *_PARTS)) - {"top_k"}
"""Fields that are sizes at any depth. `top_k` is not: it is also an option of `generate`."""
_DEPTHS = (*LAYERS, "depth", "num_blocks")

_NEVER_ZERO = (
    *_SIZES,
    "n_positions",
    "max_position_embeddings",
    "max_target_positions",
    "state_size",
    "ssm_state_size",
    "mamba_d_state",
    "conv_kernel",
    "mamba_d_conv",
    "linear_conv_kernel_dim",
    "time_step_rank",
    "mamba_dt_rank",
    "expand",
    "mamba_expand",
)
_DENSE = ("intermediate_size", "ffn_dim", "n_inner", "d_ff", "decoder_ffn_dim", "ffn_hidden_size")
"""Widths of the MLP, which is optional if every layer has experts."""
_OF_EXPERTS = ("moe_intermediate_size", "n_group", "topk_group", "num_expert_group")
_OF_MLA = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "v_head_dim")

_SIZE = re.compile(
    "(?:^|_)(?:sizes?|dims?|dimension|rank|heads|headdim|experts|topk|layers|n?groups?|kernel|positions?|embeddings|embd"
    "|inner|width|expand|channels|window|depth|blocks|n|d)(?:_|$)"
)
"""Words in the names of fields that hold a size: architectures share no list of names."""
_ELSEWHERE = ("vision", "audio", "quantization", "compression", "task_specific")
"""Parts of the names of mappings that do not describe the language model, and in which -1 can mean "all" or "none"."""

_UNBOUNDED = ("limit", "clip", "clamp", "time_step")
"""Parts of the names of fields that are bounds, and may be infinite."""

MOST_LAYERS = 1000
"""More layers would take hours to count and gigabytes to build. Unit: layers."""

MOST_LEVELS = 32
"""Largest depth of nested mappings and lists; real configs have five. Unit: levels."""

_MOST = {"batch_size": 10**6, "input_tokens": 10**8, "output_tokens": 10**8}
_MOST_OF_A_SIZE = 10**9
"""Larger sizes overflow torch's number of elements of a weight."""


def check_fields(model: str, fields: Mapping[str, Any]) -> None:
    """Refuse values that are not numbers, and impossible sizes, at any depth of a config.

    Call it before building anything from the config: transformers makes lists with one entry per layer.

    Raises:
        ModelLoadError: with the field, its value and the nearest valid value.
        EstimateError: the model has too many layers to count.
    """
    for field in _numbers(model, fields, "config"):
        if isinstance(field.value, float):
            _check_float(model, field)
        else:
            _check_depth(model, field)
            _check_sign(model, field)
    _check_ranges(model, SimpleNamespace(**fields))


def check_sizes(model: str, text: Any) -> None:
    """Refuse impossible sizes.

    Args:
        model: its name.
        text: the config of the language model, including transformers' defaults.

    Raises:
        ModelLoadError: with the field, its value and the nearest valid value.
        EstimateError: the model has too many layers to count.
    """
    _check_ranges(model, text)
    _check_heads(model, text)
    _check_experts(model, text)
    for name in LAYERS:
        _check_depth(model, _Field(f"config.{name}", name, _whole(text, name) or 0))


def check_shape(shape: Shape) -> None:
    """Refuse batches and lengths that are too large to count.

    Raises:
        EstimateError: with the field, its value and the maximum.
    """
    for name, most in _MOST.items():
        if getattr(shape, name) > most:
            raise EstimateError(f"{name}: {getattr(shape, name)} is too large to count; at most {most}")


def past_positions(positions: int | None, *, input_tokens: int, output_tokens: int) -> str | None:
    """Why a model has no position for its last tokens; null if it has.

    Args:
        positions: rows of its table of positions; null if it computes positions.
        input_tokens: tokens of the prompt.
        output_tokens: new tokens; the last one is not an input of any pass.
    """
    if positions is None or input_tokens + output_tokens - 1 <= positions:
        return None
    return (
        f"{input_tokens} input and {output_tokens} output tokens exceed the model's {positions} positions: "
        f"at most {positions + 1} together"
    )


class _Field(NamedTuple):
    place: str
    """Its path, as in `config.text_config.hidden_size`."""
    name: str
    value: float


def _check_float(model: str, field: _Field) -> None:
    bounds = any(part in field.place for part in _UNBOUNDED)
    if math.isnan(field.value) or (math.isinf(field.value) and not bounds):
        raise ModelLoadError(
            f"model {model!r}: {field.place}: {field.value} is not a finite number; set one or omit the field"
        )


def _check_depth(model: str, field: _Field) -> None:
    if field.value > MOST_LAYERS and (field.name in _DEPTHS or "layers" in field.name.split("_")):
        raise EstimateError(
            f"model {model!r}: {field.place}: {_digits(field.value)} layers are too many to count; "
            f"at most {MOST_LAYERS}"
        )


def _check_sign(model: str, field: _Field) -> None:
    """Refuse a negative size, and a size that no weight can have."""
    if any(part in field.place for part in _ELSEWHERE):
        return
    known = field.name in _ALWAYS_SIZES
    sized = known or _SIZE.search(field.name) is not None
    if (sized and field.value < 0) or (known and field.value > _MOST_OF_A_SIZE):
        _refuse_size(model, field.place, field.value)


def _check_ranges(model: str, text: Any) -> None:
    for name in dict.fromkeys((*_SIZES, *_PARTS, *_NEVER_ZERO, *_DENSE, *_OF_EXPERTS, *_OF_MLA)):
        value, most = _whole(text, name), _MOST_OF_A_SIZE if name in (*_SIZES, *_PARTS) else math.inf
        unbounded = name == "max_position_embeddings" and value == -1  # XLNet computes it itself
        if value is not None and not unbounded and not _least(text, name) <= value <= most:
            _refuse_size(model, f"config.{name}", value)


def _least(text: Any, name: str) -> int:
    """The smallest valid value of a size: 0 if it belongs to an optional part."""
    experts = any(_whole(text, field) for field in EXPERTS)
    latent = _whole(text, "kv_lora_rank") is not None and getattr(text, "use_mla", True) is not False
    optional = (name in _DENSE and experts) or (name == "head_dim" and latent)  # MLA's heads have other widths
    required = name in _NEVER_ZERO or name in (*_DENSE, "head_dim")
    required = required or (name in _OF_EXPERTS and experts) or (name in _OF_MLA and latent)
    return 1 if required and not optional else 0


def _refuse_size(model: str, place: str, value: float) -> NoReturn:
    nearest = min(max(value, 1), _MOST_OF_A_SIZE)
    raise ModelLoadError(f"model {model!r}: {place}: {_digits(value)} is not a valid size; the nearest is {nearest}")


def _digits(value: float) -> str:
    """A number for a message, shortened if it has hundreds of digits."""
    return shortened(str(value), 100)


def _check_heads(model: str, text: Any) -> None:
    if _whole(text, "kv_lora_rank"):  # MLA has no groups of heads
        return
    heads = next((n for name in HEADS if (n := _whole(text, name))), None)
    for name in KV_HEADS:
        groups = _whole(text, name)
        if heads and groups is not None and (groups == 0 or heads % groups):
            nearest = max(n for n in range(1, heads + 1) if heads % n == 0 and (n <= groups or n == 1))
            raise ModelLoadError(
                f"model {model!r}: config.{name}: {groups} does not divide the {heads} attention heads; "
                f"the nearest divisor is {nearest}"
            )


def _check_experts(model: str, text: Any) -> None:
    experts = next((n for name in EXPERTS if (n := _whole(text, name))), None)
    for name in SELECTED[:-1]:  # `top_k` is also an option of `generate`
        selected = _whole(text, name)
        if experts and selected is not None and not 1 <= selected <= experts:
            raise ModelLoadError(
                f"model {model!r}: config.{name}: {selected} of {experts} experts per token; use 1 to {experts}"
            )


def _whole(text: Any, name: str) -> int | None:
    """A field that is a whole number; null if it is something else or missing."""
    try:
        value = getattr(text, name, None)
    except Exception:  # transformers raises if each layer has its own value
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _numbers(model: str, value: Any, place: str, name: str = "", level: int = 0) -> Iterator[_Field]:
    """Every number in a config, at any depth, with its path."""
    if level > MOST_LEVELS:
        raise ModelLoadError(f"model {model!r}: {shortened(place, 100)}: nested more than {MOST_LEVELS} levels deep")
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _numbers(model, part, f"{place}.{key}", str(key), level + 1)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _numbers(model, part, f"{place}[{index}]", name, level + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield _Field(place, name, value)
