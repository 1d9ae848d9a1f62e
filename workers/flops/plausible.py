"""Whether a config describes a model at all: figures of one that cannot exist would look like any others."""

import math
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from workers.errors import EstimateError, ModelLoadError
from workers.flops.names import CHOSEN, EXPERTS, HEADS, HIDDEN, KV_HEADS, LAYERS
from workers.records import Shape

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

_UNBOUNDED = ("limit", "clip", "clamp", "time_step")
"""Parts of the names of fields that bound a value, and may do so with infinity."""

MOST_LAYERS = 1000
"""More would take hours to count, and gigabytes to build. Unit: layers."""

_MOST = {"batch_size": 10**6, "input_tokens": 10**8, "output_tokens": 10**8}
_MOST_OF_A_SIZE = 10**9
"""Past it, elements of a weight have no number that torch can hold."""


def check_fields(model: str, fields: Mapping[str, Any]) -> None:
    """Refuse numbers that are none, wherever they stand in a config as it is written, and sizes that nothing has.

    Raises:
        ModelLoadError: with the place, the value and the nearest that would do.
    """
    for place, value in _scalars(fields, "config"):
        bounds = any(part in place for part in _UNBOUNDED)
        if math.isnan(value) or (math.isinf(value) and not bounds):
            raise ModelLoadError(f"model {model!r}: {place}: {value} is not a number; leave the field out or give one")
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
        if (layers := _whole(text, name) or 0) > MOST_LAYERS:
            raise EstimateError(
                f"model {model!r}: config.{name}: {layers} layers are too many to count; at most {MOST_LAYERS}"
            )


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


def _check_ranges(model: str, text: Any) -> None:
    for name in (*_SIZES, *_PARTS):
        value, least = _whole(text, name), 1 if name in _SIZES else 0
        if value is not None and not least <= value <= _MOST_OF_A_SIZE:
            nearest = min(max(value, 1), _MOST_OF_A_SIZE)
            raise ModelLoadError(f"model {model!r}: config.{name}: {value} is no size; the nearest is {nearest}")


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


def _scalars(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _scalars(part, f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _scalars(part, f"{place}[{index}]")
    elif isinstance(value, float):
        yield place, value
