"""Combines energy over the ranks of a run: each GPU once, over the union of the windows. Pure.

Energy adds up over distinct GPUs. Each rank's meter reads whole GPUs, so two ranks on one GPU both report all of its
energy. If their windows differ, the GPU's energy over the union is the sum of both minus that of the overlap, whose
power lies between the two windows' means:

    E = E1 + E2 - overlap (P1 + P2) / 2,    with an error of up to overlap |P1 - P2| / 2

So two equal windows count once, and windows apart add up. The same holds for the processors and the memory of a host,
which all its ranks share.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from orchestrator.aggregate.windows import Interval, covered_s, intervals
from workers.records import Confidence, EnergyMethod, EnergyMetrics, GpuState, RawProcessResult
from workers.records.energy import KnownEnergyReason

_CONFIDENCES: tuple[str, ...] = get_args(Confidence)
_SHARED_GPU: KnownEnergyReason = "shared_gpu"


@dataclass(frozen=True, kw_only=True)
class Span:
    """Energy between two points on the time axis of a run (`orchestrator.aggregate.windows`). Units: s, J."""

    start_s: float
    end_s: float
    energy_j: float
    uncertainty_j: float = 0.0
    covered_s: float = 0.0
    """Time of the span that windows cover. Unit: s."""


def union(ranks: Sequence[RawProcessResult]) -> EnergyMetrics:
    """The energy of one run.

    Null, with the ranks' reasons, if a GPU of any rank could not be measured: the sum would be incomplete.
    `duration_s` is the union of the windows, and the confidence the lowest of the ranks. Unit of energies: J.
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
        energy_reasons=tuple(sorted(reasons | ({_SHARED_GPU} if shared else set()))),
        counter_period_ms=max((s.counter_period_ms for s in states if s.counter_period_ms is not None), default=None),
        per_gpu={uuid: card.energy_j for uuid, card in cards.items()},
        gpus=_states(states, cards),
        **_host(ranks),
    )


def join(spans: Iterable[Span]) -> Span:
    """Combine spans of the same meter, by the formula of this module.

    Raises:
        ValueError: There are no spans.
    """
    rest = sorted(spans, key=lambda span: (span.start_s, -span.end_s))
    if not rest:
        raise ValueError("join() needs at least one span")
    total = replace(rest[0], covered_s=rest[0].end_s - rest[0].start_s)
    for span in rest[1:]:
        total = _join_two(total, span)
    return total


def _join_two(total: Span, span: Span) -> Span:
    length_s = span.end_s - span.start_s
    overlap_s = max(0.0, min(total.end_s, span.end_s) - span.start_s)
    if span.end_s <= total.end_s and length_s < total.covered_s:
        return total  # a longer window, measured itself, contains this one
    # Errors arise at the ends of windows: overlapping windows have two ends in total, separate ones four.
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
    """Each measured GPU once."""
    spans: dict[str, list[Span]] = defaultdict(list)
    for rank, window in zip(ranks, intervals(ranks), strict=True):
        for gpu in rank.energy_metrics.gpus:
            if gpu.energy_j is not None:
                spans[gpu.uuid].append(_span(window, gpu.energy_j, gpu.energy_uncertainty_j or 0.0))
    return {uuid: join(of_gpu) for uuid, of_gpu in spans.items()}


def _span(window: Interval, energy_j: float, uncertainty_j: float = 0.0) -> Span:
    return Span(start_s=window.start_s, end_s=window.end_s, energy_j=energy_j, uncertainty_j=uncertainty_j)


def _idle_w(states: Sequence[GpuState]) -> dict[str, tuple[float, float]]:
    """Idle power per GPU with its uncertainty; the least uncertain one if several ranks report it. Unit: W."""
    idle_w: dict[str, tuple[float, float]] = {}
    for state in states:
        if state.idle_power_w is not None:
            reported = (state.idle_power_w, state.idle_power_uncertainty_w or 0.0)
            idle_w[state.uuid] = min(idle_w.get(state.uuid, reported), reported, key=lambda idle: idle[1])
    return idle_w


def _net(card: Span, idle: tuple[float, float]) -> tuple[float, float]:
    """Energy above idle over the covered time, with its uncertainty. Unit: J."""
    power_w, error_w = idle
    return card.energy_j - power_w * card.covered_s, card.uncertainty_j + error_w * card.covered_s


def _method(ranks: Sequence[RawProcessResult], *, measured: bool) -> EnergyMethod:
    methods = {rank.energy_metrics.energy_method for rank in ranks}
    if not measured:
        return "rapl" if methods == {"rapl"} else "none"
    return "nvml_power" if "nvml_power" in methods else "nvml_counter"


def _confidence(ranks: Sequence[RawProcessResult], *, shared: bool) -> Confidence | None:
    confidences = [rank.energy_metrics.energy_confidence for rank in ranks]
    lowest = min((c for c in confidences if c is not None), key=_CONFIDENCES.index, default=None)
    return "medium" if shared and lowest == "high" else lowest


def _states(states: Sequence[GpuState], cards: dict[str, Span]) -> tuple[GpuState, ...]:
    """The state of each GPU as its first rank reported it, with the energy over all ranks' windows."""
    first = {state.uuid: state for state in reversed(states)}
    return tuple(
        state.model_copy(update={"energy_j": cards[uuid].energy_j, "energy_uncertainty_j": cards[uuid].uncertainty_j})
        if uuid in cards
        else state
        for uuid, state in sorted(first.items())
    )


def _host(ranks: Sequence[RawProcessResult]) -> dict[str, float | str | None]:
    """Energy of the processors and the memory of all hosts, each host once."""
    figures: dict[str, float | str | None] = {}
    for name in ("cpu_energy", "dram_energy"):
        reasons = [reason for rank in ranks if (reason := getattr(rank.energy_metrics, f"{name}_reason"))]
        spans: dict[str, list[Span]] = defaultdict(list)
        for rank, window in zip(ranks, intervals(ranks), strict=True):
            if (energy_j := getattr(rank.energy_metrics, f"{name}_j")) is not None:
                spans[rank.environment.node_id or rank.environment.host].append(_span(window, energy_j))
        whole = not reasons and bool(spans)
        figures[f"{name}_j"] = math.fsum(join(of_host).energy_j for of_host in spans.values()) if whole else None
        figures[f"{name}_reason"] = None if whole else (reasons or ["unreadable"])[0]
    return figures
