"""The matrix products of an architecture: its weights, how often each is used, and its attention scores."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The matrix products of an architecture. Units: elements of weights, and widths of vectors."""

    per_token: float
    """Weights that multiply every token once: projections, MLPs, routers, the selected experts."""
    per_cached_token: float = 0.0
    """Weights that multiply every cached token again at each pass: MLA's expansion of compressed keys and values."""
    head: float = 0.0
    """Weights of the LM head."""
    head_at_every_position: bool = False
    """Whether the prefill computes logits for every position, because the model cannot skip any."""
    scores: tuple[tuple[int, int | None], ...] = ()
    """For each attention layer: width of keys and values over all query heads, and its window (None: no window)."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Numbers of parameters, by role."""

    parameters: int
    """All parameters; tied ones count once."""
    active: int
    """Parameters that one token passes through: all except those of experts that are not selected."""
    quantised: int
    """Parameters in the linear layers that BitsAndBytes and torchao quantise; the LM head is not one of them."""
    read: int
    """Parameters that a decode pass of one token must read: the active ones in the layers and the LM head."""
    read_quantised: int = 0
    """The part of `read` in quantised linear layers; 0 if it is unknown."""

    @classmethod
    def all_alike(cls, parameters: int) -> "Sizes":
        """Sizes of a model with unknown parts: every parameter is active and read, and none is quantised."""
        return cls(parameters=parameters, active=parameters, quantised=0, read=parameters, read_quantised=0)
