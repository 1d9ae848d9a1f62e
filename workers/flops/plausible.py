"""Whether a config describes a model at all: figures of one that cannot exist would look like any others."""

import math
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn

from workers.errors import EstimateError, ModelLoadError
from workers.flops.names import CHOSEN, EXPERTS, HEADS, HIDDEN, KV_HEADS, LAYERS
from workers.records import Shape
from workers.records.text import shortened

_SIZES = (*HIDDEN, *LAYERS, *HEADS, "vocab_size")
"""Without one of each there is no language model."""
_PARTS = (
    *KV_HEADS,
    *CHOSEN,
    *EXPERTS,
    "head_dim",
    "intermediate_size",
    "ffn_dim",
    "n_inner",
    "d_ff",
    "moe_intermediate_size",
)
"""Sizes of what a model may lack, so that 0 or null can be meant."""

_ALWAYS_SIZES = frozenset((*_SIZES, *_PARTS)) - {"top_k"}
"""Those that are sizes wherever they stand; `top_k` is an option of generating, too."""
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
"""Widths of the MLP, which a model may lack whose every layer has experts."""
_OF_EXPERTS = ("moe_intermediate_size", "n_group", "topk_group", "num_expert_group")
_OF_MLA = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "v_head_dim")

_SIZE = re.compile(
    "(?:^|_)(?:sizes?|dims?|dimension|rank|heads|headdim|experts|topk|layers|n?groups?|kernel|positions?|embeddings|embd"
    "|inner|width|expand|channels|window|depth|blocks|n|d)(?:_|$)"
)
"""Words in the names of fields that count something: there is no list of names that every architecture keeps to."""
_ELSEWHERE = ("vision", "audio", "quantization", "compression", "task_specific")
"""Parts of the names of mappings that say nothing of the language model, and where -1 can mean "all" or "none"."""

_UNBOUNDED = ("limit", "clip", "clamp", "time_step")
"""Parts of the names of fields that bound a value, and may do so with infinity."""

MOST_LAYERS = 1000
"""More would take hours to count, and gigabytes to build. Unit: layers."""

MOST_LEVELS = 32
"""Mappings and lists within one another; configs have five. Unit: levels."""

_MOST = {"batch_size": 10**6, "input_tokens": 10**8, "output_tokens": 10**8}
_MOST_OF_A_SIZE = 10**9
"""Past it, elements of a weight have no number that torch can hold."""


def check_fields(model: str, fields: Mapping[str, Any]) -> None:
    """Refuse numbers that are none, and sizes that nothing has, wherever they stand in a config as it is written.

    To be called before anything is built from it: transformers makes lists with an entry per layer.

    Raises:
        ModelLoadError: with the place, the value and the nearest that would do.
        EstimateError: it may be a model, but is too deep to be counted.
    """
    for field in _numbers(model, fields, "config"):
        if isinstance(field.value, float):
            _check_float(model, field)
        else:
            _check_depth(model, field)
            _check_sign(model, field)
    _check_ranges(model, SimpleNamespace(**fields))


def check_sizes(model: str, text: Any) -> None:
    """Refuse sizes that no model has.

    Args:
        model: its name.
        text: the config of the language model, with transformers' defaults in it.

    Raises:
        ModelLoadError: with the field, its value and the nearest that would do.
        EstimateError: it may be a model, but is too deep to be counted.
    """
    _check_ranges(model, text)
    _check_heads(model, text)
    _check_experts(model, text)
    for name in LAYERS:
        _check_depth(model, _Field(f"config.{name}", name, _whole(text, name) or 0))


def check_shape(shape: Shape) -> None:
    """Refuse batches and lengths that nothing could hold.

    Raises:
        EstimateError: with the field, its value and the largest that is counted.
    """
    for name, most in _MOST.items():
        if getattr(shape, name) > most:
            raise EstimateError(f"{name}: {getattr(shape, name)} is more than is counted; at most {most}")


def past_positions(positions: int | None, *, input_tokens: int, output_tokens: int) -> str | None:
    """Why a model has no position for its last tokens; null where it has.

    Args:
        positions: rows of the table that it looks positions up in; null where it computes them.
        input_tokens: of the prompt.
        output_tokens: new ones; the last is never computed with.
    """
    if positions is None or input_tokens + output_tokens - 1 <= positions:
        return None
    return (
        f"{input_tokens} + {output_tokens} tokens are more than the model's {positions} positions allow: "
        f"at most {positions + 1} together"
    )


class _Field(NamedTuple):
    place: str
    """Where it stands, as in `config.text_config.hidden_size`."""
    name: str
    value: float


def _check_float(model: str, field: _Field) -> None:
    bounds = any(part in field.place for part in _UNBOUNDED)
    if math.isnan(field.value) or (math.isinf(field.value) and not bounds):
        raise ModelLoadError(
            f"model {model!r}: {field.place}: {field.value} is not a number; leave the field out or give one"
        )


def _check_depth(model: str, field: _Field) -> None:
    if field.value > MOST_LAYERS and (field.name in _DEPTHS or "layers" in field.name.split("_")):
        raise EstimateError(
            f"model {model!r}: {field.place}: {_digits(field.value)} layers are too many to count; "
            f"at most {MOST_LAYERS}"
        )


def _check_sign(model: str, field: _Field) -> None:
    """Refuse what is negative and a size by its name, and what no weight is large enough for."""
    if any(part in field.place for part in _ELSEWHERE):
        return
    known = field.name in _ALWAYS_SIZES
    sized = known or _SIZE.search(field.name) is not None
    if (sized and field.value < 0) or (known and field.value > _MOST_OF_A_SIZE):
        _refuse_size(model, field.place, field.value)


def _check_ranges(model: str, text: Any) -> None:
    for name in dict.fromkeys((*_SIZES, *_PARTS, *_NEVER_ZERO, *_DENSE, *_OF_EXPERTS, *_OF_MLA)):
        value, most = _whole(text, name), _MOST_OF_A_SIZE if name in (*_SIZES, *_PARTS) else math.inf
        unbounded = name == "max_position_embeddings" and value == -1  # what XLNet itself works out
        if value is not None and not unbounded and not _least(text, name) <= value <= most:
            _refuse_size(model, f"config.{name}", value)


def _least(text: Any, name: str) -> int:
    """The least that a size can be: 0 where the part that it is of may be missing."""
    experts = any(_whole(text, field) for field in EXPERTS)
    latent = _whole(text, "kv_lora_rank") is not None and getattr(text, "use_mla", True) is not False
    lacked = (name in _DENSE and experts) or (name == "head_dim" and latent)  # MLA's heads have two widths of their own
    had = name in _NEVER_ZERO or name in (*_DENSE, "head_dim")
    had = had or (name in _OF_EXPERTS and experts) or (name in _OF_MLA and latent)
    return 1 if had and not lacked else 0


def _refuse_size(model: str, place: str, value: float) -> NoReturn:
    nearest = min(max(value, 1), _MOST_OF_A_SIZE)
    raise ModelLoadError(f"model {model!r}: {place}: {_digits(value)} is no size; the nearest is {nearest}")


def _digits(value: float) -> str:
    """A number in a message: its first digits where there are hundreds."""
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
                f"the nearest that does is {nearest}"
            )


def _check_experts(model: str, text: Any) -> None:
    experts = next((n for name in EXPERTS if (n := _whole(text, name))), None)
    for name in CHOSEN[:-1]:  # `top_k` alone is the name of an option of generating, too
        chosen = _whole(text, name)
        if experts and chosen is not None and not 1 <= chosen <= experts:
            nearest = min(max(chosen, 1), experts)
            raise ModelLoadError(
                f"model {model!r}: config.{name}: {chosen} of {experts} experts; the nearest is {nearest}"
            )


def _whole(text: Any, name: str) -> int | None:
    """A field that is a whole number; null where it is none, or there is no such field."""
    try:
        value = getattr(text, name, None)
    except Exception:  # transformers refuses a figure for the whole model where each layer has its own
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _numbers(model: str, value: Any, place: str, name: str = "", level: int = 0) -> Iterator[_Field]:
    """Every number in a config, at any depth, with the place of its field."""
    if level > MOST_LEVELS:
        raise ModelLoadError(f"model {model!r}: {shortened(place, 100)}: more than {MOST_LEVELS} levels are no config")
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _numbers(model, part, f"{place}.{key}", str(key), level + 1)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _numbers(model, part, f"{place}[{index}]", name, level + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield _Field(place, name, value)
