"""Combines energy over repeats: joules and reasons for doubt add up, and a sum that lacks a repeat is null."""

from collections.abc import Callable, Sequence
from typing import get_args

from workers.records import Confidence, EnergyMethod, EnergyMetrics

_ORDER: tuple[str, ...] = get_args(Confidence)


def energy(repeats: Sequence[EnergyMetrics]) -> EnergyMetrics:
    """Combine the repeats of a cell: totals over their windows, which do not overlap.

    Uncertainties add up in full: their causes (the counter's steps, the clock) are the same in every repeat, so they
    need not cancel.
    """
    if len(repeats) == 1:
        return repeats[0].model_copy(update={"gpus": ()})
    total = _complete(repeats, lambda part: part.gpu_energy_j)
    confidences = [part.energy_confidence for part in repeats if part.energy_confidence]
    return EnergyMetrics(
        gpu_energy_j=total,
        gpu_energy_uncertainty_j=_complete(repeats, lambda part: part.gpu_energy_uncertainty_j),
        gpu_energy_net_j=_complete(repeats, lambda part: part.gpu_energy_net_j),
        gpu_energy_net_uncertainty_j=_complete(repeats, lambda part: part.gpu_energy_net_uncertainty_j),
        idle_power_w=_mean(repeats, lambda part: part.idle_power_w),
        duration_s=_complete(repeats, lambda part: part.duration_s),
        energy_method=_method(repeats, measured=total is not None),
        energy_confidence=min(confidences, key=_ORDER.index) if total is not None and confidences else None,
        energy_reasons=tuple(dict.fromkeys(reason for part in repeats for reason in part.energy_reasons)),
        counter_period_ms=max((p.counter_period_ms for p in repeats if p.counter_period_ms is not None), default=None),
        per_gpu=_per_gpu(repeats),
        cpu_energy_j=_complete(repeats, lambda part: part.cpu_energy_j),
        cpu_energy_reason=next((part.cpu_energy_reason for part in repeats if part.cpu_energy_reason), None),
        dram_energy_j=_complete(repeats, lambda part: part.dram_energy_j),
        dram_energy_reason=next((part.dram_energy_reason for part in repeats if part.dram_energy_reason), None),
    )


def _method(repeats: Sequence[EnergyMetrics], *, measured: bool) -> EnergyMethod:
    """The method of the repeat with the lowest confidence, which limits the total; `none` without a total."""
    if not measured:
        return "rapl" if all(part.energy_method == "rapl" for part in repeats) else "none"
    return min(repeats, key=lambda part: _ORDER.index(part.energy_confidence or _ORDER[0])).energy_method


def _per_gpu(repeats: Sequence[EnergyMetrics]) -> dict[str, float]:
    """The energy of each GPU over the repeats that used it; omitted if one of them could not read it."""
    unreadable = {gpu.uuid for part in repeats for gpu in part.gpus if gpu.energy_j is None}
    uuids = {uuid: None for part in repeats for uuid in part.per_gpu if uuid not in unreadable}
    return {uuid: sum(part.per_gpu.get(uuid, 0.0) for part in repeats) for uuid in uuids}


def _complete(repeats: Sequence[EnergyMetrics], value: Callable[[EnergyMetrics], float | None]) -> float | None:
    known = [one for one in map(value, repeats) if one is not None]
    return sum(known) if len(known) == len(repeats) else None


def _mean(repeats: Sequence[EnergyMetrics], value: Callable[[EnergyMetrics], float | None]) -> float | None:
    total = _complete(repeats, value)
    return None if total is None else total / len(repeats)
