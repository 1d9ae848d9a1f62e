"""Energy of a run's ranks as one: each GPU once, over the union of the windows. Pure.

Energy adds up over distinct GPUs, as every rank's meter reads whole cards: two ranks on one GPU both report all of it.
Where their windows do not coincide, the card's energy over the union is that of both less that of the overlap, whose
power lies between the two windows' means:

    E = E1 + E2 - overlap (P1 + P2) / 2,    give or take overlap |P1 - P2| / 2

so the same window told twice counts once, and windows apart simply add up. The host's processors and memory are shared
by all ranks of a host in the same way.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from orchestrator.windows import Interval, covered_s, intervals
from workers.records import Confidence, EnergyMethod, EnergyMetrics, GpuState, RawProcessResult

_CONFIDENCES: tuple[str, ...] = get_args(Confidence)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Energy of one thing between two moments on the run's axis (`orchestrator.windows`). Units: s, J."""

    start_s: float
    end_s: float
    energy_j: float
    uncertainty_j: float = 0.0
    covered_s: float = 0.0
    """Time within the span that windows cover. Unit: s."""


def union(ranks: Sequence[RawProcessResult]) -> EnergyMetrics:
    """The energy of one run.

    Null with the ranks' reasons as soon as one rank has a GPU that could not be measured: it would lack a part.
    `duration_s` is the union of the windows, and the confidence the lowest rank's. Unit of energies: J.
    """
    if len(ranks) == 1:
        return ranks[0].energy_metrics
    states = [state for rank in ranks for state in rank.energy_metrics.gpus]
    cards = _cards(ranks)
    whole = bool(cards) and all(rank.energy_metrics.gpu_energy_j is not None for rank in ranks)
    shared = len(states) > len({state.uuid for state in states})
    idle_w = _idle_w(states)
    net = [_net(cards[uuid], idle_w[uuid]) for uuid in cards if uuid in idle_w]
    net_whole = whole and len(net) == len(cards)
    reasons = {reason for rank in ranks for reason in rank.energy_metrics.energy_reasons}
    return EnergyMetrics(
        gpu_energy_j=math.fsum(card.energy_j for card in cards.values()) if whole else None,
        gpu_energy_uncertainty_j=math.fsum(card.uncertainty_j for card in cards.values()) if whole else None,
        gpu_energy_net_j=math.fsum(energy for energy, _ in net) if net_whole else None,
        gpu_energy_net_uncertainty_j=math.fsum(error for _, error in net) if net_whole else None,
        idle_power_w=math.fsum(w for w, _ in idle_w.values()) if net_whole else None,
        duration_s=covered_s(ranks),
        energy_method=_method(ranks, measured=whole),
        energy_confidence=_confidence(ranks, shared=shared) if whole else None,
        energy_reasons=tuple(sorted(reasons | ({"shared_gpu"} if shared else set()))),
        counter_period_ms=max((s.counter_period_ms for s in states if s.counter_period_ms is not None), default=None),
        per_gpu={uuid: card.energy_j for uuid, card in cards.items()},
        gpus=_states(states, cards),
        **_host(ranks),
    )


def joined(spans: Iterable[Span]) -> Span:
    """Spans of one meter's reading as one, by this module's formula.

    Raises:
        ValueError: there are no spans.

    """
    rest = sorted(spans, key=lambda span: (span.start_s, -span.end_s))
    if not rest:
        raise ValueError("joined() needs at least one span")
    total = replace(rest[0], covered_s=rest[0].end_s - rest[0].start_s)
    for span in rest[1:]:
        total = _join(total, span)
    return total


def _join(total: Span, span: Span) -> Span:
    length_s = span.end_s - span.start_s
    overlap_s = max(0.0, min(total.end_s, span.end_s) - span.start_s)
    if span.end_s <= total.end_s and length_s < total.covered_s:
        return total  # a longer window holds all of it, and was measured itself
    # Errors come from a window's ends: windows that overlap have two ends together, windows apart have four.
    errors = (total.uncertainty_j, span.uncertainty_j)
    powers = [s.energy_j / t if t > 0 else 0.0 for s, t in ((total, total.covered_s), (span, length_s))]
    return Span(
        start_s=total.start_s,
        end_s=max(total.end_s, span.end_s),
        energy_j=total.energy_j + span.energy_j - overlap_s * sum(powers) / 2,
        uncertainty_j=(max(errors) if overlap_s else sum(errors)) + overlap_s * abs(powers[0] - powers[1]) / 2,
        covered_s=total.covered_s + length_s - overlap_s,
    )


def _cards(ranks: Sequence[RawProcessResult]) -> dict[str, Span]:
    """Every GPU that was measured, once."""
    spans: dict[str, list[Span]] = defaultdict(list)
    for rank, window in zip(ranks, intervals(ranks), strict=True):
        for gpu in rank.energy_metrics.gpus:
            if gpu.energy_j is not None:
                spans[gpu.uuid].append(_span(window, gpu.energy_j, gpu.energy_uncertainty_j or 0.0))
    return {uuid: joined(found) for uuid, found in spans.items()}


def _span(window: Interval, energy_j: float, uncertainty_j: float = 0.0) -> Span:
    return Span(start_s=window.start_s, end_s=window.end_s, energy_j=energy_j, uncertainty_j=uncertainty_j)


def _idle_w(states: Sequence[GpuState]) -> dict[str, tuple[float, float]]:
    """Power at rest by GPU, and its uncertainty: of several ranks' findings the least uncertain. Unit: W."""
    found: dict[str, tuple[float, float]] = {}
    for state in states:
        if state.idle_power_w is not None:
            one = (state.idle_power_w, state.idle_power_uncertainty_w or 0.0)
            found[state.uuid] = min(found.get(state.uuid, one), one, key=lambda idle: idle[1])
    return found


def _net(card: Span, idle: tuple[float, float]) -> tuple[float, float]:
    """Energy above rest over the time that is covered, and its uncertainty. Unit: J."""
    power_w, error_w = idle
    return card.energy_j - power_w * card.covered_s, card.uncertainty_j + error_w * card.covered_s


def _method(ranks: Sequence[RawProcessResult], *, measured: bool) -> EnergyMethod:
    methods = {rank.energy_metrics.energy_method for rank in ranks}
    if not measured:
        return "rapl" if methods == {"rapl"} else "none"
    return "nvml_power" if "nvml_power" in methods else "nvml_counter"


def _confidence(ranks: Sequence[RawProcessResult], *, shared: bool) -> Confidence | None:
    found = [rank.energy_metrics.energy_confidence for rank in ranks]
    lowest = min((c for c in found if c is not None), key=_CONFIDENCES.index, default=None)
    return "medium" if shared and lowest == "high" else lowest


def _states(states: Sequence[GpuState], cards: dict[str, Span]) -> tuple[GpuState, ...]:
    """The state of each GPU as its first rank saw it, with the energy over all ranks' windows."""
    first = {state.uuid: state for state in reversed(states)}
    return tuple(
        state.model_copy(update={"energy_j": cards[uuid].energy_j, "energy_uncertainty_j": cards[uuid].uncertainty_j})
        if uuid in cards
        else state
        for uuid, state in sorted(first.items())
    )


def _host(ranks: Sequence[RawProcessResult]) -> dict[str, float | str | None]:
    """Energy of the processors and memory of all hosts, each host once."""
    figures: dict[str, float | str | None] = {}
    for name in ("cpu_energy", "dram_energy"):
        reasons = [reason for rank in ranks if (reason := getattr(rank.energy_metrics, f"{name}_reason"))]
        spans: dict[str, list[Span]] = defaultdict(list)
        for rank, window in zip(ranks, intervals(ranks), strict=True):
            if (energy_j := getattr(rank.energy_metrics, f"{name}_j")) is not None:
                spans[rank.environment.node_id or rank.environment.host].append(_span(window, energy_j))
        whole = not reasons and bool(spans)
        figures[f"{name}_j"] = math.fsum(joined(found).energy_j for found in spans.values()) if whole else None
        figures[f"{name}_reason"] = None if whole else (reasons or ["unreadable"])[0]
    return figures
