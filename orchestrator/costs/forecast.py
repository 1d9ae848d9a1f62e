"""The forecast of `plan`: FLOPs, memory and minimum time of a cell, from closed forms. Loads no torch.

The model's config must be in the sweep, in a local folder or in the hub's cache on this disk; otherwise the figures are
null, with the reason.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import NonNegativeFloat

from orchestrator.costs.cards import CARDS, RAY_CARDS, Card
from orchestrator.costs.closed_form import forward
from orchestrator.costs.footprint import element_bytes, logits_bytes, weight_bytes
from orchestrator.costs.options import sequences, uncounted
from orchestrator.costs.outline import Outline, OutlineError, read
from orchestrator.costs.plausible import check_shape, past_positions
from workers.records import PRECISION_SPECS, Cell, FlopsResult, ModelSpec, Record, Shape
from workers.records.errors import EstimateError


class Forecast(Record):
    """The forecast cost of a cell; an unknown figure is null, with the reason."""

    flops: FlopsResult | None = None
    """FLOPs of one inference; null with `flops_reason`."""
    flops_reason: str | None = None
    """Why there are no FLOPs, no memory and no time."""
    memory_mb: NonNegativeFloat | None = None
    """Weights, full KV cache and logits on each GPU, without activations and CUDA's own. Unit: MB (10^6 bytes)."""
    fits: bool | None = None
    """Whether `memory_mb` is below the card's memory; false is certain, true is not; null with `card_reason`."""
    predicted_s: NonNegativeFloat | None = None
    """Minimum time of warm-up and window, by the card's roofline; null with `card_reason`. Unit: s."""
    card_reason: str | None = None
    """Why there is no `fits` or no `predicted_s`."""
    cannot_run: str | None = None
    """Why no run of the cell can succeed; null if no reason is known."""


def forecast(cells: Sequence[Cell], card: str | None = None) -> list[Forecast]:
    """The forecast of each cell.

    Args:
        cells: the cells.
        card: Ray's accelerator type, for cells that are not pinned to one.
    """
    outlines: dict[tuple[str, str], Outline | OutlineError] = {}
    forecasts = []
    for cell in cells:
        key = (cell.model.name, json.dumps(cell.load, sort_keys=True) if cell.load else "")
        if key not in outlines:
            outlines[key] = _outline(cell)
        forecasts.append(_forecast(cell, outlines[key], cell.accelerator_type or card))
    return forecasts


def _outline(cell: Cell) -> Outline | OutlineError:
    """The outline of the cell's model, or why there is none."""
    try:
        return read(_config(cell.model) | cell.config_overrides, trust_remote_code=cell.model.trust_remote_code)
    except OutlineError as error:
        return error


def _config(model: ModelSpec) -> dict[str, Any]:
    """The config, from the sweep, a local folder or the hub's cache on this disk."""
    if model.config is not None:
        return dict(model.config)
    file = Path(str(model.source)) / "config.json" if model.fingerprint else _cached(model)
    if file is None:
        raise OutlineError(f"the config of {model.source!r} is not on this disk; run `estimate` to fetch it")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutlineError(f"{file} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise OutlineError(f"{file} is not a transformers config: not a JSON object")
    return config


def _cached(model: ModelSpec) -> Path | None:
    """The config file in the hub's cache; null if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(str(model.source), "config.json", revision=model.revision)
    return Path(file) if isinstance(file, str) else None


def _flops(cell: Cell, outline: Outline) -> float:
    """FLOPs of one prefill and output_tokens - 1 decode passes.

    A decode pass is linear in the number of cached tokens, so the sum is a trapezoid. One pass may recompute the whole
    sequence.
    """
    passes, first = cell.output_tokens - 1, cell.input_tokens
    prefill = forward(outline.products, new=first, cached=0)
    ends = (forward(outline.products, new=1, cached=n) for n in (first, first + passes - 1))
    again, extra = outline.recomputes_at, 0.0
    if again is not None and first <= again < first + passes:
        extra = forward(outline.products, new=again + 1, cached=0) - forward(outline.products, new=1, cached=again)
    return cell.batch_size * sequences(cell.generate) * (prefill + passes * sum(ends) / 2 + extra)


def _forecast(cell: Cell, outline: Outline | OutlineError, card: str | None) -> Forecast:
    if isinstance(outline, OutlineError):
        return Forecast(flops_reason=str(outline), card_reason=str(outline), cannot_run=outline.cannot_run)
    if reason := _too_large(cell):
        return Forecast(flops_reason=reason, card_reason=reason)
    cost = _costed(cell, outline, card)
    limit = past_positions(outline.positions, input_tokens=cell.input_tokens, output_tokens=cell.output_tokens)
    return cost.model_copy(update={"cannot_run": limit})


def _too_large(cell: Cell) -> str | None:
    """Why the cell's shape is too large to count; null if it is not."""
    rows = cell.batch_size // cell.processes * sequences(cell.generate)
    try:
        check_shape(Shape(batch_size=rows, input_tokens=cell.input_tokens, output_tokens=cell.output_tokens))
    except EstimateError as error:
        return str(error)
    return None


def _costed(cell: Cell, outline: Outline, card: str | None) -> Forecast:
    flops = _labelled(_flops(cell, outline), cell, outline)
    memory_mb = _memory_mb(cell, outline)
    if cell.device == "cpu":
        return Forecast(flops=flops, memory_mb=memory_mb, card_reason="no datasheet figures for CPUs")
    if card is None:
        return Forecast(flops=flops, memory_mb=memory_mb, card_reason="name the card with --card")
    if card not in RAY_CARDS:
        reason = f"no datasheet figures for {card!r}; known cards: {', '.join(RAY_CARDS)}"
        return Forecast(flops=flops, memory_mb=memory_mb, card_reason=reason)
    datasheet = CARDS[RAY_CARDS[card]]
    least_s, reason = _least_s(cell, outline, flops.value, datasheet)
    return Forecast(
        flops=flops,
        memory_mb=memory_mb,
        fits=memory_mb < datasheet.memory_mb,
        predicted_s=least_s,
        card_reason=reason or None,
    )


def _labelled(value: float, cell: Cell, outline: Outline) -> FlopsResult:
    """The closed form's figure; `medium` if the tests compare this case with a dispatcher's count, else `low`."""
    windowed = outline.window is not None and cell.input_tokens + cell.output_tokens > outline.window
    doubt = "the closed form ignores sliding windows" if windowed else None
    doubt = doubt or uncounted(cell.generate, input_tokens=cell.input_tokens)
    return FlopsResult(
        value=value,
        method="architecture",
        confidence="low" if doubt else "medium",
        precision=PRECISION_SPECS[cell.precision].compute,
        notes=f"closed form from the config, not verified by a count{f'; {doubt}' if doubt else ''}",
    )


def _memory_mb(cell: Cell, outline: Outline) -> float:
    """Weights, and KV cache and logits at the end of the inference, on each GPU. Unit: MB (10^6 bytes)."""
    rows = cell.batch_size / cell.processes * sequences(cell.generate)
    weights = weight_bytes(outline.sizes.parameters, outline.sizes.quantised, cell.precision)
    tokens = rows * (cell.input_tokens + cell.output_tokens - 1)
    cache = outline.cache_width * tokens * element_bytes(cell.precision)
    # Each rank of a split model gathers the logits of the whole vocabulary.
    logits = logits_bytes(rows, outline.vocabulary, cell.precision, steps=cell.output_tokens, generate=cell.generate)
    return ((weights + cache) / cell.tensor_parallel + logits) / 1e6


def _least_s(cell: Cell, outline: Outline, flops: float, card: Card) -> tuple[float | None, str]:
    """Minimum time of any run of the cell, or why it is unknown. Unit: s.

    The larger of arithmetic at the card's peak and reading weights at its bandwidth, times the minimum number of
    generations in warm-up and window. Source: Williams, Waterman and Patterson, "Roofline", 2009.
    """
    speed = card.peak_flops.get(PRECISION_SPECS[cell.precision].compute)
    if speed is None or card.bandwidth is None:
        return None, f"no datasheet peak of this card for {PRECISION_SPECS[cell.precision].compute}"
    share = outline.sizes.read / outline.sizes.parameters
    read_bytes = (
        weight_bytes(outline.sizes.read, outline.sizes.quantised * share, cell.precision) / cell.tensor_parallel
    )
    one_s = max(flops / cell.world_size / speed, cell.output_tokens * read_bytes / card.bandwidth)
    return (cell.warmup.floor + cell.window.min_generations) * one_s, ""
