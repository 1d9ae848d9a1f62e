"""What an architecture consists of, as far as matrix products go: weights and how often they are used, and scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from workers.flops.config import ModelConfig
from workers.flops.names import CHOSEN, EXPERTS, HEADS, HIDDEN, LAYERS

_CROSS = ("encoder_attn", "crossattention", "cross_attn")
"""Attention to an encoder, which a language model on its own has none of."""
_POSITIONS = ("wpe", "embed_positions", "position_embeddings", "positions_embed", "pos_encoding")
"""What tables of positions are called."""
_GROWS = ".weights"
"""How the names of those end that are made larger where a sequence needs it (XGLM)."""
_ROWS_OF_EXPERTS = ("w1", "v1", "w2")
"""What DBRX calls the matrices of its experts, one below the other."""
_MATRIX, _STACK = 2, 3  # dimensions of one matrix, and of a stack of one matrix per expert


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """An architecture's matrix products. Units: elements of weights, and widths of vectors."""

    per_token: float
    """Weights that multiply every token once: projections, MLPs, routers, the experts that are chosen."""
    per_cached_token: float = 0.0
    """Weights that multiply every cached token again at each pass: MLA's expansion of compressed keys and values."""
    head: float = 0.0
    """Weights of the LM head."""
    head_at_every_position: bool = False
    """Whether the prefill computes logits for every position, because the model cannot do otherwise."""
    scores: tuple[tuple[int, int | None], ...] = ()
    """For each layer with attention: width of keys and values over all query heads, and its window (None: all)."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many parameters there are of which kind."""

    parameters: int
    """All of them; tied ones count once."""
    active: int
    """Those that one token passes through: all but for the experts that are not chosen."""
    quantised: int
    """Those in the linear layers that BitsAndBytes and torchao quantise: the LM head's are not among them."""
    read: int
    """Those that a decode pass of one token must read: the active ones in the layers and the LM head."""
    read_quantised: int = 0
    """Those of them in linear layers that are quantised; 0 where they are not told apart."""

    @classmethod
    def all_alike(cls, parameters: int) -> "Sizes":
        """Of a model whose parts transformers cannot name: every parameter is active, read and not quantised."""
        return cls(parameters=parameters, active=parameters, quantised=0, read=parameters, read_quantised=0)


def sizes_of_twin(config: ModelConfig, model: Any) -> Sizes:
    """Sizes of an architecture that transformers can build."""
    import torch

    head = model.get_output_embeddings()
    weights = list(_matrices(decoder_of(model), head))
    chosen = _chosen_share(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    linear = {id(m.weight): m.weight for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head}
    return Sizes(
        parameters=parameters,
        active=round(parameters - sum(w.elements * (1 - chosen(w.experts)) for w in weights)),
        quantised=sum(weight.numel() for weight in linear.values()),
        read=round(sum(w.elements * chosen(w.experts) for w in weights) + _elements_of_head(model)),
        read_quantised=round(sum(w.elements * chosen(w.experts) for w in weights if w.linear)),
    )


def of_twin(config: ModelConfig, model: Any) -> Blueprint:
    """The blueprint of an architecture that transformers can build: shapes are those of its own modules.

    Raises:
        ValueError: the config does not say how wide attention is.
    """
    decoder = decoder_of(model)
    chosen = _chosen_share(config)
    weights = list(_matrices(decoder, model.get_output_embeddings()))
    again = sum(w.elements for w in weights if "kv_b_proj" in w.name and _expands_cache(decoder))
    return Blueprint(
        per_token=sum(w.elements * chosen(w.experts) for w in weights) - again,
        per_cached_token=again,
        head=_elements_of_head(model),
        head_at_every_position=not model._supports_logits_to_keep(),  # noqa: SLF001 - as `generate` asks
        scores=tuple(_scores(config)),
    )


def positions(model: Any) -> int | None:
    """Rows of the table that the model looks positions up in, whether learned or not; null where it computes them."""
    decoder, config = decoder_of(model), model.config.get_text_config(decoder=True)
    tables = chain(decoder.named_parameters(), decoder.named_buffers())
    rows = [
        table.shape[0]
        for path, table in tables
        if table.ndim == _MATRIX and any(part in path.split(".") for part in _POSITIONS) and not path.endswith(_GROWS)
    ]
    if config.model_type == "mpt":  # its slopes are built for so many
        rows.append(config.max_seq_len)
    # Tables of some (OPT) have rows beside, for padding.
    named = [n for n in (getattr(config, "max_position_embeddings", None),) if isinstance(n, int)] if rows else []
    least = min(rows + named, default=None)
    return None if least is None else least - _taken(config)


def _taken(config: Any) -> int:
    """Rows of its table that a model looks up beside those of its tokens, or leaves out before them."""
    if config.model_type == "xlm":  # appends the mask token, and computes what stands in its place
        return 1
    if config.model_type == "prophetnet":  # begins behind the padding's row, and looks one token ahead
        return 2 + (config.pad_token_id or 0)
    return 0


def decoder_of(model: Any) -> Any:
    """The part of a model that its tokens run through before the LM head, which some models call their decoder."""
    decoder = model.get_decoder()
    return model.base_model if decoder is model.get_output_embeddings() else decoder


def of_config(config: ModelConfig) -> tuple[Blueprint, Sizes]:
    """An unknown architecture, read as a usual decoder: attention with GQA, and a gated MLP or experts.

    Raises:
        ValueError: the config lacks what even that needs.
    """
    text = config.text
    hidden, layers = _need(text, *HIDDEN), _need(text, *LAYERS)
    vocabulary, inner = _need(text, "vocab_size"), _need(text, "intermediate_size", "ffn_dim", "n_inner", "d_ff")
    heads, head = _heads(text)
    experts, chosen = _get(text, *EXPERTS) or 1, _get(text, *CHOSEN) or 1
    expert = 3 * hidden * ((experts > 1 and _get(text, "moe_intermediate_size")) or inner)
    shared = expert * (_get(text, "n_shared_experts", "num_shared_experts") or 0)
    attention = 2 * hidden * head * (heads + (_get(text, "num_key_value_heads", "num_kv_heads") or heads))
    per_token = layers * (attention + shared + expert * min(chosen, experts))
    all_layers = layers * (attention + shared + expert * experts)
    embeddings = vocabulary * hidden * (1 if getattr(text, "tie_word_embeddings", True) else 2)
    products = Blueprint(per_token=per_token, head=vocabulary * hidden, scores=tuple(_scores(config)))
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
    """Experts that it is of, or holds one matrix each for; 0 where every token passes through it."""
    linear: bool
    """Whether it is a linear layer's, and can be quantised."""


def _matrices(decoder: Any, head: Any) -> Iterator[_Weight]:
    """Weights in `decoder`, without those of the LM head, which Llama 4 counts as a part of it."""
    import torch

    for path, module in decoder.named_modules():
        if module is head or isinstance(module, torch.nn.Embedding) or any(part in path.split(".") for part in _CROSS):
            continue
        siblings = _experts_beside(decoder, path)
        linear, convolution = (isinstance(module, kind) for kind in (torch.nn.Linear, torch.nn.Conv1d))
        for name, weight in module.named_parameters(recurse=False):
            if name in _ROWS_OF_EXPERTS and hasattr(module, "moe_num_experts"):
                yield _Weight(
                    name=f"{path}.{name}", elements=weight.numel(), experts=module.moe_num_experts, linear=False
                )
                continue
            # Decays and scales are called otherwise: they work element by element.
            if name.endswith("bias") or ("weight" not in name and "proj" not in name) or weight.ndim < _MATRIX:
                continue
            stacked = weight.ndim == _STACK and not convolution
            experts = weight.shape[0] if stacked else siblings
            yield _Weight(name=f"{path}.{name}", elements=weight.numel(), experts=experts, linear=linear)


def _experts_beside(decoder: Any, path: str) -> int:
    """How many experts there are in the list that holds the module at `path`; 0 where it is no expert's."""
    parts = path.split(".")
    if "experts" not in parts[:-1]:
        return 0
    experts = decoder.get_submodule(".".join(parts[: parts.index("experts") + 1]))
    return len(experts) if hasattr(experts, "__len__") else 0


def _chosen_share(config: ModelConfig) -> Any:
    """How large a share of so many experts works on one token."""
    text = config.text
    chosen = _get(text, *CHOSEN) or _get(getattr(text, "ffn_config", None), *CHOSEN)  # DBRX's MLP has one of its own

    def share(experts: int) -> float:
        return min(1.0, chosen / experts) if experts and chosen else 1.0

    return share


def _expands_cache(decoder: Any) -> bool:
    """Whether MLA keeps compressed keys and values, and expands all of them at each pass (since transformers 5.2x)."""
    return any(hasattr(module, "expand_kv") for module in decoder.modules())


def _scores(config: ModelConfig) -> Iterator[tuple[int, int | None]]:
    """Width and window of each layer with attention. Which layers those are, transformers' own cache knows."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    layers = [layer for layer in DynamicCache(config=config.text).layers if isinstance(layer, DynamicLayer)]
    width = _score_width(config.text) if layers else 0
    for layer in layers:
        yield width, getattr(layer, "sliding_window", None)


def _score_width(text: Any) -> int:
    """Width of keys and of values over all query heads, added: what a score and its use take in multiply-adds."""
    heads, head = _heads(text)
    nope, rope = _get(text, "qk_nope_head_dim"), _get(text, "qk_rope_head_dim")
    return heads * ((nope + rope if nope and rope else head) + (_get(text, "v_head_dim") or head))


def _heads(text: Any) -> tuple[int, int]:
    """Query heads, and the width of each."""
    heads = _need(text, *HEADS)
    return heads, _get(text, "head_dim") or _need(text, *HIDDEN) // heads


def _elements_of_head(model: Any) -> int:
    head = model.get_output_embeddings()
    if head is None:
        return 0
    # ModernBERT's own head ends before what it calls the decoder.
    before = _matrices(getattr(model, "lm_head", head), head) if model.get_decoder() is head else ()
    return int(head.weight.numel()) + sum(weight.elements for weight in before)


def _get(text: Any, *names: str) -> int | None:
    """The first of the fields that is a number; None where none is."""
    values = (getattr(text, name, None) for name in names)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)


def _need(text: Any, *names: str) -> int:
    value = _get(text, *names)
    if value is None:
        raise ValueError(f"the config has no {' or '.join(names)}")
    return value
