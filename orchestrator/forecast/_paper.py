"""A decoder's matrix products, from its config as plain data: neither torch nor transformers is loaded.

Only for architectures whose layers are all alike and whose defaults are written down here; the tests hold each against
a dispatcher's count. Any other has no figure here: `python -m orchestrator estimate` builds it and counts.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from workers.errors import MeasureError
from workers.flops.blueprint import Blueprint, Sizes
from workers.flops.names import CHOSEN
from workers.flops.plausible import check_fields, check_sizes
from workers.names import NAMES
from workers.records.text import one_line, shortened


@dataclass(frozen=True, kw_only=True)
class _Family:
    """How an architecture differs from a usual decoder, what its config calls things, and what that leaves out.

    Of a field that it does not read, a config may hold anything: transformers keeps it and builds the same model.
    """

    hidden: tuple[str, ...] = ("hidden_size",)
    """Names of the width between layers; where a config has two of them, transformers takes the first."""
    layers: tuple[str, ...] = ("num_hidden_layers",)
    """Names of the number of layers, in that order too."""
    heads: tuple[str, ...] = ("num_attention_heads",)
    """Names of the number of heads of queries, in that order too."""
    inner: str | None = "intermediate_size"
    """The field of the MLP's width; null: there is none."""
    four_times: bool = False
    """Whether the MLP is 4 x hidden_size wide where the config does not say."""
    grouped: bool = True
    """Whether `num_key_value_heads` and `head_dim` are read; where not, each of the heads has keys of its own."""
    whole_heads: bool = False
    """Whether the heads must divide hidden_size although `head_dim` is read; where it is not, they always must."""
    null_head: bool = False
    """Whether `head_dim: null` means hidden / heads; elsewhere only leaving it out does."""
    experts: tuple[str, ...] = ()
    """Names of the number of experts; none: there are no experts."""
    gated: bool = True
    """Whether the MLP has a gate: three matrices, not two."""
    tied: bool = False
    """Whether the LM head shares the embedding's weights where the config does not say."""
    explicit: tuple[str, ...] = ()
    """Fields whose default is a number of the architecture's own, so that the config must say them."""
    multi_query: bool = False
    """Whether there is one head of keys and values where the config does not say otherwise."""
    pad: int | None = 0
    """The embedding's padding token where the config does not say; null: it has none, whatever the config says."""
    positions_field: tuple[str, ...] = ("max_position_embeddings",)
    """Names of the number of positions, in that order too; it must be one even where nothing needs it."""
    positions: int = 0
    """Rows of a table of learned positions where the config does not say; 0: there is no table."""
    computed_positions: int = 0
    """Positions that are computed once, for no more than these; 0: as many as are needed."""
    recomputes_at: int | None = None
    """Cached tokens at which the prompt is computed again, where the config does not say; null: it never is."""
    window: int | None = None
    """The sliding window where the config does not say; null: no windows."""
    always_windows: bool = False
    """Whether some layers have sliding attention where the config does not say which."""
    window_switch: bool = False
    """Whether there are windows only where the config says `use_sliding_window`."""


_KV = "num_key_value_heads"
_CHOSEN = CHOSEN[0]


def _gpt(**differs: Any) -> _Family:
    """A family that descends from GPT-2, whose config has names of its own."""
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
    "mixtral": _Family(explicit=(_KV, _CHOSEN), experts=("num_experts", "num_local_experts"), null_head=True),
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
"""Fields that make of a decoder something else than is written down here, where they are set."""


class OnPaperError(ValueError):
    """Why a config gives no figure without being built.

    Args:
        message: the reason.
        cannot_run: why no run of the model can succeed, where that is known.
    """

    def __init__(self, message: str, *, cannot_run: str | None = None) -> None:
        super().__init__(message)
        self.cannot_run = cannot_run


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A model as its config describes it."""

    products: Blueprint
    sizes: Sizes
    vocabulary: int
    """Tokens that logits are computed for."""
    cache_width: int
    """Elements of keys and values that a token leaves in the cache, over all layers."""
    window: int | None
    """Tokens up to which a sliding window makes no difference; null: there is none."""
    positions: int | None
    """Positions that the model has; null: as many as are needed."""
    recomputes_at: int | None
    """Cached tokens at which the model drops its cache and computes the whole sequence again; null: it never does."""


def read(config: dict[str, Any], *, trust_remote_code: bool = False) -> Paper:
    """A transformers config, as in `config.json`, on paper.

    Args:
        config: its fields.
        trust_remote_code: whether code that comes with the model, as `auto_map` says, takes transformers' place.

    Raises:
        OnPaperError: an architecture that is not written down here, a field whose default only transformers knows, or
            one that transformers would refuse.
    """
    family = _family(config, trust_remote_code)
    hidden, layers, heads = (_need(config, names) for names in (family.hidden, family.layers, family.heads))
    vocabulary = _need(config, ("vocab_size",))
    _check_layer_types(config, layers)
    _check_padding(config, family, vocabulary)
    if config["model_type"] == "opt" and _get(config, "word_embed_proj_dim") not in (None, hidden):
        raise OnPaperError("the embedding is of another width than the layers; `estimate` counts it")
    head, kv = _heads(config, family, hidden=hidden, heads=heads)
    attention = 2 * hidden * head * (heads + kv)
    experts, chosen = (_need(config, family.experts), _need(config, (_CHOSEN,))) if family.experts else (1, 1)
    routed = hidden * experts if family.experts else 0
    mlp = (3 if family.gated else 2) * hidden * _inner(config, family, hidden)
    per_token = layers * (attention + routed + mlp * chosen)
    linear = layers * (attention + routed + mlp * experts)
    head_weights = vocabulary * hidden
    learned, limit = _positions(config, family)
    tied = _flag(config, "tie_word_embeddings", family.tied)
    embeddings = head_weights * (1 if tied else 2) + learned * hidden
    again = family.recomputes_at
    return Paper(
        products=Blueprint(per_token=per_token, head=head_weights, scores=((2 * layers * heads * head, None),)),
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
        recomputes_at=None if again is None else _known(config, ("original_max_position_embeddings",), again),
    )


def _family(config: dict[str, Any], trust_remote_code: bool) -> _Family:
    """The config's family, where it describes a model that is one of it."""
    _check(config)
    if trust_remote_code and "auto_map" in config:
        raise OnPaperError("the model comes with its own code; `estimate` counts what that computes")
    kind = str(config.get("model_type"))
    family = FAMILIES.get(kind)
    if family is None:
        raise _not_here(kind)
    if other := next((name for name in _OTHER if config.get(name)), None):
        raise OnPaperError(f"config.{other} may make another model of it; `estimate` builds it")
    missing = [name for name in family.explicit if _get(config, name) is None]
    if missing:
        raise OnPaperError(f"the config leaves {', '.join(missing)} to transformers' default; `estimate` knows it")
    return family


def _not_here(kind: str) -> OnPaperError:
    """Why an architecture has no figure: it is not written down here, or is none that is measured at all."""
    if NAMES.are_all and kind in NAMES.model_types - NAMES.causal_types:
        reason = f"{kind!r} is no causal language model; only causal language models are measured"
        return OnPaperError(reason, cannot_run=reason)
    return OnPaperError(f"no closed form for {kind!r} without building it; `estimate` does")


def _check(config: dict[str, Any]) -> None:
    """Refuse a config that describes no model."""
    try:
        check_fields("", config)
        check_sizes("", SimpleNamespace(**config))
    except MeasureError as error:
        raise OnPaperError(str(error).removeprefix("model '': ")) from error


def _check_layer_types(config: dict[str, Any], layers: int) -> None:
    """Refuse kinds of layers that are not one for each layer, or that have other products."""
    kinds = config.get("layer_types")
    if kinds is None:
        return
    if not isinstance(kinds, list) or len(kinds) != layers:
        count = len(kinds) if isinstance(kinds, list) else "no list of"
        raise OnPaperError(f"config.layer_types: {count} entries for {layers} layers; give each layer one")
    if not all(kind in ("full_attention", "sliding_attention") for kind in kinds):
        raise OnPaperError("config.layer_types names layers that are not counted here; `estimate` counts them")


def _check_padding(config: dict[str, Any], family: _Family, vocabulary: int) -> None:
    """Refuse a padding token that the embedding has no row for."""
    if family.pad is None:
        return
    pad = _get(config, "pad_token_id") if "pad_token_id" in config else family.pad
    if pad is not None and pad >= vocabulary:
        raise OnPaperError(
            f"config.pad_token_id: {pad} is none of the {vocabulary} tokens; the nearest is {vocabulary - 1}"
        )


def _heads(config: dict[str, Any], family: _Family, *, hidden: int, heads: int) -> tuple[int, int]:
    """The width of a head, and the number of heads of keys and values."""
    said = _get(config, "head_dim")
    if family.grouped and (said == 0 or (said is None and "head_dim" in config and not family.null_head)):
        raise OnPaperError(f"config.head_dim: {'null' if said is None else 0} is no size; leave the field out")
    if hidden % heads and (family.whole_heads or not family.grouped):
        name, nearest = family.hidden[-1], max(hidden // heads, 1) * heads
        raise OnPaperError(
            f"config.{name}: {hidden} is no multiple of the {heads} attention heads; the nearest is {nearest}"
        )
    if not family.grouped:
        return hidden // heads, 1 if family.multi_query and _flag(config, "multi_query", True) else heads
    return said or hidden // heads, _get(config, _KV) or heads


def _inner(config: dict[str, Any], family: _Family, hidden: int) -> int:
    """Width of the MLP."""
    said = _get(config, family.inner) if family.inner else None
    if said is None and family.four_times:
        return 4 * hidden
    if said == 0 and family.four_times:  # transformers builds it, and it cannot compute
        raise OnPaperError(f"config.{family.inner}: 0 is no size; the nearest is 1")
    return _need(config, (str(family.inner),))


def _positions(config: dict[str, Any], family: _Family) -> tuple[int, int | None]:
    """Rows of the table of learned positions, and how many positions there are at all; null: as many as are needed."""
    default = family.positions or family.computed_positions
    limit = _known(config, family.positions_field, default)
    if not default:
        return 0, None
    return limit if family.positions else 0, limit


def _window(config: dict[str, Any], family: _Family) -> int | None:
    """Tokens that a layer with a window looks back at; null where no layer has one."""
    said = _get(config, "sliding_window")
    if family.window_switch and not _flag(config, "use_sliding_window", False):
        window = None
    elif said is not None and said < 1:
        raise OnPaperError(f"config.sliding_window: {said} is no size; the nearest is 1, and null is none")
    else:  # where there is no window, chunks bound the cache of any family
        default = None if "sliding_window" in config else family.window
        window = said or default or _get(config, "attention_chunk_size")
    if window is None and (family.always_windows or "sliding_attention" in (config.get("layer_types") or ())):
        raise OnPaperError("config.sliding_window: there is none for the layers that have sliding attention")
    return window


def _get(config: dict[str, Any], *names: str) -> int | None:
    """The first of the fields that is there; null where none is.

    Raises:
        OnPaperError: it is no whole number; a default in its place would be another model's.
    """
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if value is not None:
            raise OnPaperError(f"config.{name}: {shortened(one_line(repr(value)), 100)} is no whole number")
    return None


def _known(config: dict[str, Any], names: tuple[str, ...], default: int) -> int:
    """The first of the fields that is there, or a default that is written down here; null would be neither."""
    value = _get(config, *names)
    if value is None and (null := next((name for name in names if name in config), None)):
        raise OnPaperError(f"config.{null}: null is no whole number; leave the field out")
    return default if value is None else value


def _flag(config: dict[str, Any], name: str, default: bool) -> bool:
    """A field that is true or false, or its default where the config does not say."""
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise OnPaperError(f"config.{name}: {shortened(one_line(repr(value)), 100)} is neither true nor false")
    return value


def _need(config: dict[str, Any], names: tuple[str, ...]) -> int:
    value = _get(config, *names)
    if value is None:
        raise OnPaperError(f"the config leaves {names[-1]} to transformers' default; `estimate` knows it")
    return value
