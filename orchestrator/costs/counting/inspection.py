"""A model's architecture and sizes, from its modules or, if transformers cannot build it, from its config."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from orchestrator.costs.architecture import Architecture, Sizes
from orchestrator.costs.config_fields import EXPERTS, HEADS, HIDDEN, LAYERS, SELECTED
from orchestrator.costs.counting.model_config import ModelConfig

_CROSS = ("encoder_attn", "crossattention", "cross_attn")
"""Names of cross-attention modules, which a language model without an encoder does not use."""
_POSITIONS = ("wpe", "embed_positions", "position_embeddings", "positions_embed", "pos_encoding")
"""Names of tables of positions."""
_GROWS = ".weights"
"""Suffix of tables that grow with the sequence (XGLM)."""
_ROWS_OF_EXPERTS = ("w1", "v1", "w2")
"""DBRX's names of the stacked matrices of its experts."""
_MATRIX, _STACK = 2, 3  # dimensions of one matrix, and of a stack of one matrix per expert


def sizes_of(config: ModelConfig, model: Any) -> Sizes:
    """Sizes of a model that transformers can build."""
    import torch

    head = model.get_output_embeddings()
    weights = list(_matrices(decoder_of(model), head))
    share = _selected_share(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    linear = {id(m.weight): m.weight for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head}
    return Sizes(
        parameters=parameters,
        active=round(parameters - sum(w.elements * (1 - share(w.experts)) for w in weights)),
        quantised=sum(weight.numel() for weight in linear.values()),
        read=round(sum(w.elements * share(w.experts) for w in weights) + _elements_of_head(model)),
        read_quantised=round(sum(w.elements * share(w.experts) for w in weights if w.linear)),
    )


def architecture_of(config: ModelConfig, model: Any) -> Architecture:
    """The architecture of a model that transformers can build, from the shapes of its modules.

    Raises:
        ValueError: the config does not give the width of attention.
    """
    decoder = decoder_of(model)
    share = _selected_share(config)
    weights = list(_matrices(decoder, model.get_output_embeddings()))
    expanded = sum(w.elements for w in weights if "kv_b_proj" in w.name and _expands_cache(decoder))
    return Architecture(
        per_token=sum(w.elements * share(w.experts) for w in weights) - expanded,
        per_cached_token=expanded,
        head=_elements_of_head(model),
        head_at_every_position=not model._supports_logits_to_keep(),  # noqa: SLF001 - as in `generate`
        scores=tuple(_scores(config)),
    )


def positions(model: Any) -> int | None:
    """Rows of the model's table of positions, learned or fixed; null if it computes positions."""
    decoder, config = decoder_of(model), model.config.get_text_config(decoder=True)
    tables = chain(decoder.named_parameters(), decoder.named_buffers())
    rows = [
        table.shape[0]
        for path, table in tables
        if table.ndim == _MATRIX and any(part in path.split(".") for part in _POSITIONS) and not path.endswith(_GROWS)
    ]
    if config.model_type == "mpt":  # its slopes are built for this length
        rows.append(config.max_seq_len)
    # Some tables (OPT) have extra rows for padding.
    named = [n for n in (getattr(config, "max_position_embeddings", None),) if isinstance(n, int)] if rows else []
    least = min(rows + named, default=None)
    return None if least is None else least - _reserved_rows(config)


def _reserved_rows(config: Any) -> int:
    """Rows of a table of positions that the model does not use for its tokens."""
    if config.model_type == "xlm":  # appends a mask token and predicts in its place
        return 1
    if config.model_type == "prophetnet":  # starts after the padding row and looks one token ahead
        return 2 + (config.pad_token_id or 0)
    return 0


def decoder_of(model: Any) -> Any:
    """The part of a model before the LM head. Some models return the LM head itself as their decoder."""
    decoder = model.get_decoder()
    return model.base_model if decoder is model.get_output_embeddings() else decoder


def from_config(config: ModelConfig) -> tuple[Architecture, Sizes]:
    """Architecture and sizes of an unknown model, taken as a usual decoder: GQA, and a gated MLP or experts.

    Raises:
        ValueError: the config lacks a required size.
    """
    text = config.text
    hidden, layers = _need(text, *HIDDEN), _need(text, *LAYERS)
    vocabulary, inner = _need(text, "vocab_size"), _need(text, "intermediate_size", "ffn_dim", "n_inner", "d_ff")
    heads, head = _heads(text)
    experts, selected = _get(text, *EXPERTS) or 1, _get(text, *SELECTED) or 1
    expert = 3 * hidden * ((experts > 1 and _get(text, "moe_intermediate_size")) or inner)
    shared = expert * (_get(text, "n_shared_experts", "num_shared_experts") or 0)
    attention = 2 * hidden * head * (heads + (_get(text, "num_key_value_heads", "num_kv_heads") or heads))
    per_token = layers * (attention + shared + expert * min(selected, experts))
    all_layers = layers * (attention + shared + expert * experts)
    embeddings = vocabulary * hidden * (1 if getattr(text, "tie_word_embeddings", True) else 2)
    products = Architecture(per_token=per_token, head=vocabulary * hidden, scores=tuple(_scores(config)))
    return products, Sizes(
        parameters=embeddings + all_layers,
        active=embeddings + per_token,
        quantised=all_layers,
        read=per_token + vocabulary * hidden,
        read_quantised=per_token,
    )


@dataclass(frozen=True, kw_only=True)
class _Weight:
    """A weight that multiplies tokens."""

    name: str
    elements: int
    experts: int
    """Number of experts that share this weight or whose list it is in; 0 if every token passes through it."""
    linear: bool
    """Whether it belongs to a linear layer, so that it can be quantised."""


def _matrices(decoder: Any, head: Any) -> Iterator[_Weight]:
    """Weights in `decoder` without the LM head, which Llama 4 includes."""
    import torch

    for path, module in decoder.named_modules():
        if module is head or isinstance(module, torch.nn.Embedding) or any(part in path.split(".") for part in _CROSS):
            continue
        siblings = _experts_beside(decoder, path)
        linear, convolution = (isinstance(module, layer) for layer in (torch.nn.Linear, torch.nn.Conv1d))
        for name, weight in module.named_parameters(recurse=False):
            if name in _ROWS_OF_EXPERTS and hasattr(module, "moe_num_experts"):
                yield _Weight(
                    name=f"{path}.{name}", elements=weight.numel(), experts=module.moe_num_experts, linear=False
                )
                continue
            # Decays and scales have other names: they are elementwise.
            if name.endswith("bias") or ("weight" not in name and "proj" not in name) or weight.ndim < _MATRIX:
                continue
            stacked = weight.ndim == _STACK and not convolution
            experts = weight.shape[0] if stacked else siblings
            yield _Weight(name=f"{path}.{name}", elements=weight.numel(), experts=experts, linear=linear)


def _experts_beside(decoder: Any, path: str) -> int:
    """Number of experts in the list that holds the module at `path`; 0 if the module is not part of an expert."""
    parts = path.split(".")
    if "experts" not in parts[:-1]:
        return 0
    experts = decoder.get_submodule(".".join(parts[: parts.index("experts") + 1]))
    return len(experts) if hasattr(experts, "__len__") else 0


def _selected_share(config: ModelConfig) -> Any:
    """A function: number of experts -> the share of them that processes one token."""
    text = config.text
    selected = _get(text, *SELECTED) or _get(getattr(text, "ffn_config", None), *SELECTED)  # DBRX nests it

    def share(experts: int) -> float:
        return min(1.0, selected / experts) if experts and selected else 1.0

    return share


def _expands_cache(decoder: Any) -> bool:
    """Whether MLA caches compressed keys and values and expands them at each pass (since transformers 5.2x)."""
    return any(hasattr(module, "expand_kv") for module in decoder.modules())


def _scores(config: ModelConfig) -> Iterator[tuple[int, int | None]]:
    """Width and window of each attention layer; transformers' cache identifies these layers."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    layers = [layer for layer in DynamicCache(config=config.text).layers if isinstance(layer, DynamicLayer)]
    width = _score_width(config.text) if layers else 0
    for layer in layers:
        yield width, getattr(layer, "sliding_window", None)


def _score_width(text: Any) -> int:
    """Width of keys plus width of values, over all query heads: the multiply-adds of one score and its use."""
    heads, head = _heads(text)
    nope, rope = _get(text, "qk_nope_head_dim"), _get(text, "qk_rope_head_dim")
    return heads * ((nope + rope if nope and rope else head) + (_get(text, "v_head_dim") or head))


def _heads(text: Any) -> tuple[int, int]:
    """Number of query heads, and the width of each."""
    heads = _need(text, *HEADS)
    return heads, _get(text, "head_dim") or _need(text, *HIDDEN) // heads


def _elements_of_head(model: Any) -> int:
    head = model.get_output_embeddings()
    if head is None:
        return 0
    # ModernBERT calls the last layer of its LM head the decoder.
    before = _matrices(getattr(model, "lm_head", head), head) if model.get_decoder() is head else ()
    return int(head.weight.numel()) + sum(weight.elements for weight in before)


def _get(text: Any, *names: str) -> int | None:
    """The first of the fields that is a whole number; None if none is."""
    values = (getattr(text, name, None) for name in names)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)


def _need(text: Any, *names: str) -> int:
    value = _get(text, *names)
    if value is None:
        raise ValueError(f"its config has no {' or '.join(names)}")
    return value
