"""A decoder's matrix products, from its config as plain data: neither torch nor transformers is loaded.

Only for architectures whose layers are all alike and whose defaults are written down here; the tests hold each against
a dispatcher's count. Any other has no figure here: `python -m orchestrator estimate` builds it and counts.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from workers.errors import MeasureError
from workers.flops.blueprint import Blueprint, Sizes
from workers.flops.plausible import check_fields, check_sizes


@dataclass(frozen=True, kw_only=True)
class _Family:
    """How an architecture differs from a usual decoder, and what its config leaves out."""

    gated: bool = True
    """Whether the MLP has a gate: three matrices, not two."""
    tied: bool = False
    """Whether the LM head shares the embedding's weights where the config does not say."""
    explicit: tuple[str, ...] = ()
    """Fields whose default is a number of the architecture's own, so that the config must say them."""
    multi_query: bool = False
    """Whether there is one head of keys and values where the config does not say otherwise."""
    positions: int = 0
    """Rows of a table of learned positions where the config does not say; 0: there is no table."""
    computed_positions: int = 0
    """Positions that are computed once, for no more than these; 0: as many as are needed."""
    recomputes_at: int | None = None
    """Cached tokens at which the prompt is computed again, where the config does not say; null: it never is."""
    window: int | None = None
    """The sliding window where the config does not say; null: no windows."""


_KV = "num_key_value_heads"
FAMILIES: dict[str, _Family] = {
    "llama": _Family(),
    "mistral": _Family(explicit=(_KV,), window=4096),
    "mixtral": _Family(explicit=(_KV, "num_local_experts", "num_experts_per_tok")),
    "qwen2": _Family(explicit=(_KV,)),
    "qwen3": _Family(explicit=(_KV, "head_dim")),
    "gemma": _Family(tied=True, explicit=(_KV, "head_dim")),
    "gemma2": _Family(tied=True, explicit=(_KV, "head_dim"), window=4096),
    "gemma3_text": _Family(tied=True, explicit=(_KV, "head_dim"), window=4096),
    "phi3": _Family(recomputes_at=4096),
    "olmo": _Family(),
    "olmo2": _Family(),
    "granite": _Family(),
    "phi": _Family(gated=False),
    "starcoder2": _Family(gated=False, tied=True, explicit=(_KV,), window=4096),
    "gpt2": _Family(gated=False, tied=True, positions=1024),
    "gptj": _Family(gated=False, computed_positions=2048),
    "gpt_neox": _Family(gated=False),
    "opt": _Family(gated=False, tied=True, positions=2048),
    "bloom": _Family(gated=False, tied=True),
    "gpt_bigcode": _Family(gated=False, tied=True, multi_query=True, positions=1024),
}

_HIDDEN = ("hidden_size", "n_embd")
_LAYERS = ("num_hidden_layers", "n_layer")
_HEADS = ("num_attention_heads", "n_head")
_INNER = ("intermediate_size", "ffn_dim", "n_inner")
_FOUR_TIMES = ("gpt2", "gptj", "bloom", "gpt_bigcode")
"""Families whose MLP is 4 x hidden_size wide where the config does not say."""


class OnPaperError(ValueError):
    """Why a config gives no figure without being built."""


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


def read(config: dict[str, Any]) -> Paper:
    """A transformers config, as in `config.json`, on paper.

    Raises:
        OnPaperError: an architecture that is not written down here, or a field whose default only transformers knows.
    """
    _check(config)
    kind = str(config.get("model_type"))
    family = FAMILIES.get(kind)
    if family is None:
        raise OnPaperError(f"no closed form for {kind!r} without building it; `estimate` does")
    missing = [name for name in family.explicit if _get(config, name) is None]
    if missing:
        raise OnPaperError(f"the config leaves {', '.join(missing)} to transformers' default; `estimate` knows it")
    hidden, layers, heads = _need(config, _HIDDEN), _need(config, _LAYERS), _need(config, _HEADS)
    vocabulary = _need(config, ("vocab_size",))
    inner = _get(config, *_INNER) or (4 * hidden if kind in _FOUR_TIMES else _need(config, _INNER))
    if _get(config, "word_embed_proj_dim") not in (None, hidden):
        raise OnPaperError("the embedding is of another width than the layers; `estimate` counts it")
    head = _get(config, "head_dim") or hidden // heads
    one_kv = family.multi_query and config.get("multi_query", True)
    kv = 1 if one_kv else _get(config, _KV) or heads
    attention = 2 * hidden * head * (heads + kv)
    experts, chosen = _get(config, "num_local_experts") or 0, _get(config, "num_experts_per_tok") or 0
    mlp = (3 if family.gated else 2) * hidden * inner
    per_token = layers * (attention + hidden * experts + mlp * (chosen if experts else 1))
    linear = layers * (attention + hidden * experts + mlp * (experts or 1))
    head_weights = vocabulary * hidden
    again = family.recomputes_at
    said = _get(config, "n_positions", "max_position_embeddings")
    positions = (said or family.positions) if family.positions else 0
    embeddings = head_weights * (1 if config.get("tie_word_embeddings", family.tied) else 2) + positions * hidden
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
        positions=positions or (family.computed_positions and (said or family.computed_positions)) or None,
        recomputes_at=again and (_get(config, "original_max_position_embeddings") or again),
    )


def _check(config: dict[str, Any]) -> None:
    """Refuse a config that describes no model."""
    try:
        check_fields("", config)
        check_sizes("", SimpleNamespace(**config))
    except MeasureError as error:
        raise OnPaperError(str(error).removeprefix("model '': ")) from error


def _window(config: dict[str, Any], family: _Family) -> int | None:
    if config.get("use_sliding_window") is False:
        return None
    return _get(config, "sliding_window") or (None if "sliding_window" in config else family.window)


def _get(config: dict[str, Any], *names: str) -> int | None:
    """The first of the fields that is a number; null where none is."""
    values = (config.get(name) for name in names)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)


def _need(config: dict[str, Any], names: tuple[str, ...]) -> int:
    value = _get(config, *names)
    if value is None:
        raise OnPaperError(f"the config leaves {names[0]} to transformers' default; `estimate` knows it")
    return value
