"""What a cell will cost, before anything is started: FLOPs, memory and time on paper. Loads no torch.

The figures are closed forms over the model's config, where that lies in the sweep, in a folder or in the hub's cache on
this disk; everywhere else they are null, with the reason.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import NonNegativeFloat

from orchestrator.forecast._cards import CARDS, Card
from orchestrator.forecast._paper import FAMILIES, OnPaperError, Paper, read
from workers.errors import EstimateError
from workers.flops import peak
from workers.flops.by_architecture import forward
from workers.flops.memory import BYTES, compute_dtype, logits_bytes, weight_bytes
from workers.flops.options import sequences, uncounted
from workers.flops.plausible import check_shape, past_positions
from workers.records import Cell, FlopsResult, ModelSpec, Record, Shape

__all__ = ["CARDS", "FAMILIES", "Card", "Forecast", "forecast"]


class Forecast(Record):
    """A cell's cost on paper; what could not be told is null, with the reason."""

    flops: FlopsResult | None = None
    """FLOPs of one inference; null with `flops_reason`."""
    flops_reason: str | None = None
    """Why there are none, and so no memory and no time either."""
    memory_mb: NonNegativeFloat | None = None
    """Weights, full KV cache and logits on each GPU; activations and CUDA's own come on top. Unit: MB (10^6 bytes)."""
    fits: bool | None = None
    """Whether `memory_mb` is less than the card has; false is certain, true is not; null with `card_reason`."""
    predicted_s: NonNegativeFloat | None = None
    """Least time of warm-up and window, by the card's roofline; null with `card_reason`. Unit: s."""
    card_reason: str | None = None
    """Why there is no `fits` or no `predicted_s`."""
    cannot_run: str | None = None
    """Why no run of the cell can succeed; null where nothing is known against it."""


def forecast(cells: Sequence[Cell], card: str | None = None) -> list[Forecast]:
    """The cost of each cell on paper.

    Args:
        cells: what to cost.
        card: Ray's name of the card, for cells that are not pinned to one themselves.
    """
    papers: dict[tuple[str, str], Paper | OnPaperError] = {}
    found = []
    for cell in cells:
        key = (cell.model.name, json.dumps(cell.load, sort_keys=True) if cell.load else "")
        if key not in papers:
            papers[key] = _paper(cell)
        found.append(_forecast(cell, papers[key], cell.accelerator_type or card))
    return found


def _paper(cell: Cell) -> Paper | OnPaperError:
    """The cell's model on paper, or why there is none."""
    try:
        return read(_config(cell.model) | cell.bends, trust_remote_code=cell.model.trust_remote_code)
    except OnPaperError as error:
        return error


def _config(model: ModelSpec) -> dict[str, Any]:
    """The config, from wherever it lies on this disk."""
    if model.config is not None:
        return dict(model.config)
    file = Path(str(model.source)) / "config.json" if model.fingerprint else _cached(model)
    if file is None:
        raise OnPaperError(f"the config of {model.source!r} is not on this disk; `estimate` fetches it")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OnPaperError(f"{file} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise OnPaperError(f"{file} holds no config")
    return config


def _cached(model: ModelSpec) -> Path | None:
    """The config in the hub's cache, if an earlier run fetched it."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(str(model.source), "config.json", revision=model.revision)
    return Path(found) if isinstance(found, str) else None


def _flops(cell: Cell, paper: Paper) -> float:
    """One prefill and output_tokens - 1 cached passes, whose cost is a straight line in what is cached: a trapezoid.

    One of the passes may compute the whole sequence again.
    """
    passes, first = cell.output_tokens - 1, cell.input_tokens
    prefill = forward(paper.products, new=first, cached=0)
    ends = (forward(paper.products, new=1, cached=n) for n in (first, first + passes - 1))
    again, extra = paper.recomputes_at, 0.0
    if again is not None and first <= again < first + passes:
        extra = forward(paper.products, new=again + 1, cached=0) - forward(paper.products, new=1, cached=again)
    return cell.batch_size * sequences(cell.generate) * (prefill + passes * sum(ends) / 2 + extra)


def _forecast(cell: Cell, paper: Paper | OnPaperError, card: str | None) -> Forecast:
    if isinstance(paper, OnPaperError):
        return Forecast(flops_reason=str(paper), card_reason=str(paper), cannot_run=paper.cannot_run)
    if reason := _too_large(cell):
        return Forecast(flops_reason=reason, card_reason=reason)
    made = _costed(cell, paper, card)
    limit = past_positions(paper.positions, input_tokens=cell.input_tokens, output_tokens=cell.output_tokens)
    return made.model_copy(update={"cannot_run": limit})


def _too_large(cell: Cell) -> str | None:
    """Why the cell's batch or lengths are more than `estimate` counts, too; null where they are not."""
    rows = cell.batch_size // cell.processes * sequences(cell.generate)
    try:
        check_shape(Shape(batch_size=rows, input_tokens=cell.input_tokens, output_tokens=cell.output_tokens))
    except EstimateError as error:
        return str(error)
    return None


def _costed(cell: Cell, paper: Paper, card: str | None) -> Forecast:
    flops = _labelled(_flops(cell, paper), cell, paper)
    memory_mb = _memory_mb(cell, paper)
    if cell.device == "cpu":
        return Forecast(flops=flops, memory_mb=memory_mb, card_reason="CPUs have no datasheet figures here")
    if card is None:
        return Forecast(flops=flops, memory_mb=memory_mb, card_reason="name the card with --card")
    if card not in CARDS:
        reason = f"no datasheet of {card!r} here; there are {', '.join(CARDS)}"
        return Forecast(flops=flops, memory_mb=memory_mb, card_reason=reason)
    predicted_s, reason = _least_s(cell, paper, flops.value, CARDS[card])
    return Forecast(
        flops=flops,
        memory_mb=memory_mb,
        fits=memory_mb < CARDS[card].memory_mb,
        predicted_s=predicted_s,
        card_reason=reason or None,
    )


def _labelled(value: float, cell: Cell, paper: Paper) -> FlopsResult:
    """The closed form's figure. `medium` as far as the tests hold the architecture against a dispatcher's count."""
    windowed = paper.window is not None and cell.input_tokens + cell.output_tokens > paper.window
    doubt = "sliding windows cut what is counted here" if windowed else None
    doubt = doubt or uncounted(cell.generate, input_tokens=cell.input_tokens)
    return FlopsResult(
        value=value,
        method="architecture",
        confidence="low" if doubt else "medium",
        precision=compute_dtype(cell.precision),
        notes=f"closed form from the config alone, not counted{f'; {doubt}' if doubt else ''}",
    )


def _memory_mb(cell: Cell, paper: Paper) -> float:
    """Weights, and KV cache and logits at the inference's end, on each GPU. Unit: MB (10^6 bytes)."""
    rows = cell.batch_size / cell.processes * sequences(cell.generate)
    weights = weight_bytes(paper.sizes.parameters, paper.sizes.quantised, cell.precision)
    tokens = rows * (cell.input_tokens + cell.output_tokens - 1)
    cache = paper.cache_width * tokens * BYTES[compute_dtype(cell.precision)]
    # Splits of a model gather the logits of the whole vocabulary, each for itself.
    logits = logits_bytes(rows, paper.vocabulary, cell.precision, steps=cell.output_tokens, generate=cell.generate)
    return ((weights + cache) / cell.tensor_parallel + logits) / 1e6


def _least_s(cell: Cell, paper: Paper, flops: float, card: Card) -> tuple[float | None, str]:
    """Time that no run of the cell can be under: arithmetic at the card's peak, or reading weights at its bandwidth.

    Source: Williams, Waterman and Patterson, "Roofline", 2009. The larger of both bounds, times the generations that
    warm-up and window make at least.
    """
    best = peak(card.nvml_name) if card.nvml_name else None
    speed = best.flops.get(compute_dtype(cell.precision)) if best else None
    if best is None or speed is None:
        return None, f"no sourced peak of this card for products in {compute_dtype(cell.precision)}"
    share = paper.sizes.read / paper.sizes.parameters
    read_bytes = weight_bytes(paper.sizes.read, paper.sizes.quantised * share, cell.precision) / cell.tensor_parallel
    one_s = max(flops / cell.world_size / speed, cell.output_tokens * read_bytes / best.bandwidth)
    return (cell.warmup.floor + cell.window.min_generations) * one_s, ""
