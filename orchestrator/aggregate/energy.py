"""Energy of several repeats as one: joules add up, doubts gather, and a sum that lacks a part is null."""

from collections.abc import Callable, Sequence
from typing import get_args

from workers.records import Confidence, EnergyMetrics

_ORDER: tuple[str, ...] = get_args(Confidence)


def energy(repeats: Sequence[EnergyMetrics]) -> EnergyMetrics:
    """The repeats of a cell as one: totals over their windows, which do not overlap.

    Uncertainties add up in full: what they come from (the counter's steps, the clock) is the same in every repeat, so
    nothing says that they cancel.
    """
    if len(repeats) == 1:
        return repeats[0].model_copy(update={"gpus": ()})
    total = _complete(repeats, lambda part: part.gpu_energy_j)
    confidences = [part.energy_confidence for part in repeats if part.energy_confidence]
    method = repeats[0].energy_method if total is None else _weakest(repeats).energy_method
    return EnergyMetrics(
        gpu_energy_j=total,
        gpu_energy_uncertainty_j=_complete(repeats, lambda part: part.gpu_energy_uncertainty_j),
        gpu_energy_net_j=_complete(repeats, lambda part: part.gpu_energy_net_j),
        gpu_energy_net_uncertainty_j=_complete(repeats, lambda part: part.gpu_energy_net_uncertainty_j),
        idle_power_w=_mean(repeats, lambda part: part.idle_power_w),
        duration_s=_complete(repeats, lambda part: part.duration_s),
        energy_method=method,
        energy_confidence=min(confidences, key=_ORDER.index) if total is not None and confidences else None,
        energy_reasons=tuple(dict.fromkeys(reason for part in repeats for reason in part.energy_reasons)),
        counter_period_ms=max((p.counter_period_ms for p in repeats if p.counter_period_ms is not None), default=None),
        per_gpu={
            uuid: sum(part.per_gpu.get(uuid, 0.0) for part in repeats) for part in repeats for uuid in part.per_gpu
        },
        cpu_energy_j=_complete(repeats, lambda part: part.cpu_energy_j),
        cpu_energy_reason=next((part.cpu_energy_reason for part in repeats if part.cpu_energy_reason), None),
        dram_energy_j=_complete(repeats, lambda part: part.dram_energy_j),
        dram_energy_reason=next((part.dram_energy_reason for part in repeats if part.dram_energy_reason), None),
    )


def _weakest(repeats: Sequence[EnergyMetrics]) -> EnergyMetrics:
    """The part that is trusted least: the total is no better, and its method is the total's."""
    return min(repeats, key=lambda part: _ORDER.index(part.energy_confidence or _ORDER[0]))


def _complete(repeats: Sequence[EnergyMetrics], value: Callable[[EnergyMetrics], float | None]) -> float | None:
    known = [one for one in map(value, repeats) if one is not None]
    return sum(known) if len(known) == len(repeats) else None


def _mean(repeats: Sequence[EnergyMetrics], value: Callable[[EnergyMetrics], float | None]) -> float | None:
    total = _complete(repeats, value)
    return None if total is None else total / len(repeats)
