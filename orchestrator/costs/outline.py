"""The outline of a decoder: its matrix products and sizes, from its config. Loads neither torch nor transformers.

It covers the architectures in `FAMILIES`, whose layers are all alike; the tests compare each with a dispatcher's count.
For any other architecture, `python -m orchestrator estimate` builds the model and counts.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from orchestrator.config.transformers_names import NAMES
from orchestrator.costs.architecture import Architecture, Sizes
from orchestrator.costs.config_fields import SELECTED
from orchestrator.costs.plausible import check_fields, check_sizes
from workers.records.errors import JouleGridError, MeasureError
from workers.records.text import one_line, shortened


@dataclass(frozen=True, kw_only=True)
class _Family:
    """How an architecture differs from a usual decoder: the names of its config fields, and their defaults.

    transformers ignores the config fields that an architecture does not read, so their values do not matter here.
    """

    hidden: tuple[str, ...] = ("hidden_size",)
    """Names of the hidden size; if a config has two of them, transformers takes the first."""
    layers: tuple[str, ...] = ("num_hidden_layers",)
    """Names of the number of layers, in order of precedence."""
    heads: tuple[str, ...] = ("num_attention_heads",)
    """Names of the number of query heads, in order of precedence."""
    inner: str | None = "intermediate_size"
    """Name of the MLP's width; null if there is no such field."""
    four_times: bool = False
    """Whether the MLP's width defaults to 4 x hidden_size."""
    grouped: bool = True
    """Whether `num_key_value_heads` and `head_dim` are read; if not, each query head has its own keys and values."""
    whole_heads: bool = False
    """Whether the heads must divide hidden_size even if `head_dim` is read; if it is not read, they always must."""
    null_head: bool = False
    """Whether `head_dim: null` means hidden_size / heads; otherwise only omitting it does."""
    experts: tuple[str, ...] = ()
    """Names of the number of experts; empty if there are none."""
    gated: bool = True
    """Whether the MLP has a gate: three matrices instead of two."""
    tied: bool = False
    """Whether the LM head shares the embedding's weights by default."""
    explicit: tuple[str, ...] = ()
    """Fields that the config must set, because their defaults are specific to the architecture."""
    multi_query: bool = False
    """Whether there is one head of keys and values by default."""
    pad: int | None = 0
    """Default padding token of the embedding; null if the embedding has none, whatever the config."""
    positions_field: tuple[str, ...] = ("max_position_embeddings",)
    """Names of the number of positions, in order of precedence; must be a whole number even if unused."""
    positions: int = 0
    """Default number of learned positions; 0 if there is no such table."""
    computed_positions: int = 0
    """Default number of positions that are precomputed; 0 if positions are unlimited."""
    recomputes_at: int | None = None
    """Default number of cached tokens at which the sequence is recomputed; null if it never is."""
    window: int | None = None
    """Default sliding window; null if there is none."""
    always_windows: bool = False
    """Whether some layers have sliding attention by default."""
    window_switch: bool = False
    """Whether windows need `use_sliding_window: true`."""


_KV = "num_key_value_heads"
_SELECTED = SELECTED[0]


def _gpt(**differs: Any) -> _Family:
    """A family that descends from GPT-2, with GPT-2's names of config fields."""
    names = {
        "hidden": ("hidden_size", "n_embd"),
        "layers": ("num_hidden_layers", "n_layer"),
        "heads": ("num_attention_heads", "n_head"),
        "positions_field": ("max_position_embeddings", "n_positions"),
        "inner": "n_inner",
    }
    return _Family(**names | {"four_times": True, "grouped": False, "gated": False, "pad": None} | differs)


FAMILIES: dict[str, _Family] = {
    "llama": _Family(whole_heads=True, null_head=True),
    "mistral": _Family(explicit=(_KV,), window=4096, null_head=True),
    "mixtral": _Family(explicit=(_KV, _SELECTED), experts=("num_experts", "num_local_experts"), null_head=True),
    "qwen2": _Family(explicit=(_KV,), window=4096, window_switch=True),
    "qwen3": _Family(explicit=(_KV, "head_dim"), window=4096, window_switch=True),
    "gemma": _Family(tied=True, explicit=(_KV, "head_dim")),
    "gemma2": _Family(tied=True, explicit=(_KV, "head_dim"), window=4096, always_windows=True, whole_heads=True),
    "gemma3_text": _Family(tied=True, explicit=(_KV, "head_dim"), window=4096, always_windows=True, whole_heads=True),
    "phi3": _Family(recomputes_at=4096, pad=32000),
    "olmo": _Family(),
    "olmo2": _Family(),
    "granite": _Family(),
    "phi": _Family(gated=False),
    "starcoder2": _Family(gated=False, tied=True, explicit=(_KV,), null_head=True),
    "gpt2": _gpt(tied=True, positions=1024),
    "gptj": _gpt(computed_positions=2048),
    "gpt_neox": _Family(gated=False, grouped=False, pad=None),
    "opt": _Family(gated=False, grouped=False, tied=True, inner="ffn_dim", positions=2048),
    "bloom": _gpt(tied=True, hidden=("n_embed", "hidden_size"), inner=None, positions_field=()),
    "gpt_bigcode": _gpt(tied=True, multi_query=True, positions=1024),
}


_OTHER = ("is_encoder_decoder", "add_cross_attention", "use_bidirectional_attention", "text_config")
"""Fields that change the architecture if they are set."""


class OutlineError(JouleGridError, ValueError):
    """A config has no outline: its cost is unknown unless transformers builds the model.

    Args:
        message: the reason.
        cannot_run: why no run of the model can succeed; null if no reason is known.
    """

    def __init__(self, message: str, *, cannot_run: str | None = None) -> None:
        super().__init__(message)
        self.cannot_run = cannot_run


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A model's matrix products and sizes, from its config."""

    products: Architecture
    sizes: Sizes
    vocabulary: int
    """Tokens in the vocabulary."""
    cache_width: int
    """Elements of keys and values per cached token, over all layers."""
    window: int | None
    """Sliding window. Unit: tokens; null if there is none."""
    positions: int | None
    """Positions that the model has; null if they are unlimited."""
    recomputes_at: int | None
    """Cached tokens at which the model drops its cache and recomputes the whole sequence; null if it never does."""


def read(config: dict[str, Any], *, trust_remote_code: bool = False) -> Outline:
    """The outline of a model from its transformers config.

    Args:
        config: the fields of `config.json`.
        trust_remote_code: whether the code in `auto_map` replaces that of transformers.

    Raises:
        OutlineError: the architecture is not in `FAMILIES`, the default of a missing field is unknown, or transformers
            would refuse a value.
    """
    family = _family(config, trust_remote_code)
    hidden, layers, heads = (_need(config, names) for names in (family.hidden, family.layers, family.heads))
    vocabulary = _need(config, ("vocab_size",))
    _check_layer_types(config, layers)
    _check_padding(config, family, vocabulary)
    if config["model_type"] == "opt" and _get(config, "word_embed_proj_dim") not in (None, hidden):
        raise OutlineError("config.word_embed_proj_dim differs from hidden_size: no closed form; run `estimate`")
    head, kv = _heads(config, family, hidden=hidden, heads=heads)
    attention = 2 * hidden * head * (heads + kv)
    experts, selected = (_need(config, family.experts), _need(config, (_SELECTED,))) if family.experts else (1, 1)
    routed = hidden * experts if family.experts else 0
    mlp = (3 if family.gated else 2) * hidden * _inner(config, family, hidden)
    per_token = layers * (attention + routed + mlp * selected)
    linear = layers * (attention + routed + mlp * experts)
    head_weights = vocabulary * hidden
    learned, limit = _positions(config, family)
    tied = _flag(config, "tie_word_embeddings", family.tied)
    embeddings = head_weights * (1 if tied else 2) + learned * hidden
    recomputes_at = family.recomputes_at
    return Outline(
        products=Architecture(per_token=per_token, head=head_weights, scores=((2 * layers * heads * head, None),)),
        sizes=Sizes(
            parameters=embeddings + linear,
            active=embeddings + per_token,
            quantised=linear,
            read=per_token + head_weights,
        ),
        vocabulary=vocabulary,
        cache_width=2 * layers * kv * head,
        window=_window(config, family),
        positions=limit,
        recomputes_at=recomputes_at and _known(config, ("original_max_position_embeddings",), recomputes_at),
    )


def _family(config: dict[str, Any], trust_remote_code: bool) -> _Family:
    """The config's family, if the config describes a plain model of it."""
    _check(config)
    if trust_remote_code and "auto_map" in config:
        raise OutlineError("the model comes with its own code: no closed form; run `estimate`")
    model_type = str(config.get("model_type"))
    family = FAMILIES.get(model_type)
    if family is None:
        raise _unsupported(model_type)
    if other := next((name for name in _OTHER if config.get(name)), None):
        raise OutlineError(f"config.{other} may change the architecture: no closed form; run `estimate`")
    missing = [name for name in family.explicit if _get(config, name) is None]
    if missing:
        raise OutlineError(f"the config does not set {', '.join(missing)}: default unknown; run `estimate`")
    return family


def _unsupported(model_type: str) -> OutlineError:
    """Why an architecture has no outline: it is not in `FAMILIES`, or it is never measured."""
    if NAMES.are_all and model_type in NAMES.model_types - NAMES.causal_types:
        reason = f"{model_type!r} is not a causal language model; only causal language models are measured"
        return OutlineError(reason, cannot_run=reason)
    return OutlineError(f"no closed form for model type {model_type!r}; run `estimate`, which builds the model")


def _check(config: dict[str, Any]) -> None:
    """Refuse a config that no model can have."""
    try:
        check_fields("", config)
        check_sizes("", SimpleNamespace(**config))
    except MeasureError as error:
        raise OutlineError(str(error).removeprefix("model '': ")) from error


def _check_layer_types(config: dict[str, Any], layers: int) -> None:
    """Refuse `layer_types` without one entry per layer, or with layers other than attention."""
    types = config.get("layer_types")
    if types is None:
        return
    if not isinstance(types, list):
        raise OutlineError(f"config.layer_types: not a list; give a list of {layers} entries, one per layer")
    if len(types) != layers:
        raise OutlineError(f"config.layer_types: {len(types)} entries for {layers} layers; give one entry per layer")
    other = next((name for name in types if name not in ("full_attention", "sliding_attention")), None)
    if other is not None:
        name = shortened(one_line(repr(other)), 100)
        raise OutlineError(f"config.layer_types: no closed form for layers of type {name}; run `estimate`")


def _check_padding(config: dict[str, Any], family: _Family, vocabulary: int) -> None:
    """Refuse a padding token outside the vocabulary."""
    if family.pad is None:
        return
    pad = _get(config, "pad_token_id") if "pad_token_id" in config else family.pad
    if pad is not None and pad >= vocabulary:
        raise OutlineError(
            f"config.pad_token_id: {pad} is outside the vocabulary of {vocabulary} tokens; use at most {vocabulary - 1}"
        )


def _heads(config: dict[str, Any], family: _Family, *, hidden: int, heads: int) -> tuple[int, int]:
    """The width of a head, and the number of heads of keys and values."""
    head_dim = _get(config, "head_dim")
    if family.grouped and (head_dim == 0 or (head_dim is None and "head_dim" in config and not family.null_head)):
        value = "null" if head_dim is None else 0
        raise OutlineError(f"config.head_dim: {value} is not a valid size; omit the field")
    if hidden % heads and (family.whole_heads or not family.grouped):
        name, nearest = family.hidden[-1], max(hidden // heads, 1) * heads
        raise OutlineError(f"config.{name}: {hidden} is not a multiple of the {heads} attention heads; use {nearest}")
    if not family.grouped:
        return hidden // heads, 1 if family.multi_query and _flag(config, "multi_query", True) else heads
    return head_dim or hidden // heads, _get(config, _KV) or heads


def _inner(config: dict[str, Any], family: _Family, hidden: int) -> int:
    """Width of the MLP."""
    width = _get(config, family.inner) if family.inner else None
    if width is None and family.four_times:
        return 4 * hidden
    if width == 0 and family.four_times:  # transformers builds it, but it cannot compute
        raise OutlineError(f"config.{family.inner}: 0 is not a valid size; use at least 1")
    return _need(config, (str(family.inner),))


def _positions(config: dict[str, Any], family: _Family) -> tuple[int, int | None]:
    """Rows of the table of learned positions, and the number of positions, null if it is unlimited."""
    default = family.positions or family.computed_positions
    limit = _known(config, family.positions_field, default)
    if not default:
        return 0, None
    return limit if family.positions else 0, limit


def _window(config: dict[str, Any], family: _Family) -> int | None:
    """The sliding window; null if no layer has one. Unit: tokens."""
    configured = _get(config, "sliding_window")
    if family.window_switch and not _flag(config, "use_sliding_window", False):
        window = None
    elif configured is not None and configured < 1:
        raise OutlineError(
            f"config.sliding_window: {configured} is not a valid size; use at least 1, or null for no window"
        )
    else:  # without a window, chunks bound the cache of any family
        default = None if "sliding_window" in config else family.window
        window = configured or default or _get(config, "attention_chunk_size")
    if window is None and (family.always_windows or "sliding_attention" in (config.get("layer_types") or ())):
        raise OutlineError("config.sliding_window: not set, but some layers have sliding attention; set the window")
    return window


def _get(config: dict[str, Any], *names: str) -> int | None:
    """The first of the fields that is set; null if none is.

    Raises:
        OutlineError: the value is not a whole number.
    """
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if value is not None:
            raise OutlineError(f"config.{name}: {shortened(one_line(repr(value)), 100)} is not a whole number")
    return None


def _known(config: dict[str, Any], names: tuple[str, ...], default: int) -> int:
    """The first of the fields that is set, or `default`; refuse null, which is neither."""
    value = _get(config, *names)
    if value is None and (null := next((name for name in names if name in config), None)):
        raise OutlineError(f"config.{null}: null is not a whole number; omit the field")
    return default if value is None else value


def _flag(config: dict[str, Any], name: str, default: bool) -> bool:
    """A field that is true or false, or its default."""
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise OutlineError(f"config.{name}: {shortened(one_line(repr(value)), 100)} is neither true nor false")
    return value


def _need(config: dict[str, Any], names: tuple[str, ...]) -> int:
    value = _get(config, *names)
    if value is None:
        raise OutlineError(f"the config does not set {names[-1]}: default unknown; run `estimate`")
    return value
