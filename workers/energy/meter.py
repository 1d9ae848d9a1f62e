"""The meter: `begin()`, work, `end()`. It reads only before and after the window and starts no thread."""

import math
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from workers.energy import idle, nvml, rapl, state
from workers.energy.gauge import MAX_OVER_LIMIT, GaugeResult
from workers.energy.nvml import CardFault, EnergyReason
from workers.energy.power import Gauge, gauge_for
from workers.energy.sampler import Sampler
from workers.energy.system import MONOTONIC, Clock, System
from workers.records import Confidence, EnergyMethod, EnergyMetrics, GpuState

POLL_S = 0.002
"""Time between two readings. NVML answers in about this time; reading faster only loads the driver. Unit: s."""
THIS_MACHINE = System(
    clock=MONOTONIC,
    open_card=nvml.Card,
    start_sampler=Sampler,
    driver_version=nvml.driver_version,
    baselines={},
)


class EnergyMeter:
    """Measures the energy of some GPUs, and of the host, over windows that this process opens and closes.

        meter = EnergyMeter(["GPU-..."], synchronize=torch.cuda.synchronize)
        meter.measure_idle(1.0)         # once the model is loaded; optional
        meter.begin()
        work()
        energy = meter.end()            # EnergyMetrics

    A fault of a card, a driver or the host raises no exception: the figure is null, and `energy_reasons` says why.
    """

    def __init__(
        self,
        gpu_uuids: Sequence[str],
        *,
        synchronize: Callable[[], None] | None = None,
        own_pids: Collection[int] = (),
        powercap: Path = rapl.POWERCAP,
        system: System = THIS_MACHINE,
    ) -> None:
        """Create a meter; reads nothing yet.

        Args:
            gpu_uuids: UUIDs of the cards to measure (with or without `GPU-`). Empty: measure only the host.
            synchronize: Waits until the cards' work is done; called at both ends of a window.
            own_pids: Further processes of this run (the other ranks), which are not foreign.
            powercap: Root of the host's RAPL counters.
            system: Clock, cards and their baselines; simulated ones in tests.

        """
        self.gpu_uuids = tuple(dict.fromkeys(nvml.nvml_uuid(uuid) for uuid in gpu_uuids))
        self.own_pids = {os.getpid(), *own_pids}
        self._synchronize = synchronize or (lambda: None)
        self._powercap = powercap
        self._system = system
        self._clock = system.clock
        self._faults: dict[str, EnergyReason] = {}
        self._gauges: dict[str, Gauge] = {}
        self._states: dict[str, state.Snapshot] = {}
        self._names: dict[str, str | None] = {}
        self._driver = ""
        self._start_s: float | None = None
        self._rapl: rapl.Reading | None = None
        self._last: EnergyMetrics | None = None

    def measure_idle(self, seconds: float = 1.0, *, max_age_s: float = idle.MAX_AGE_S) -> dict[str, float]:
        """Measure the cards' idle power, unless it is known and no older than `max_age_s`; returns W by UUID.

        Call it with the model loaded and nothing running. A card whose power does not settle is omitted.
        """
        self._synchronize()
        self._find_cards()
        baselines, now_s = self._system.baselines, self._clock.now_s()
        stale = {
            uuid: gauge
            for uuid, gauge in self._gauges.items()
            if (old := baselines.get((uuid, self._driver))) is None or now_s - old.at_s >= max_age_s
        }
        for gauge in stale.values():
            gauge.open()
        _follow(list(stale.values()), self._clock, at_least_s=seconds)
        for uuid, gauge in stale.items():
            if (level := gauge.idle_level) is not None and gauge.settled:
                baselines[uuid, self._driver] = idle.baseline_of(level)
        known = {uuid: baselines.get((uuid, self._driver)) for uuid in self._gauges}
        return {uuid: baseline.power_w for uuid, baseline in known.items() if baseline is not None}

    def begin(self, *, barrier: Callable[[], None] = lambda: None) -> None:
        """Open a window: waits until the cards' power is level and their counters have just stepped.

        Args:
            barrier: Returns once the meters of all ranks have reached it, so that their windows open together. The
                cards stay idle meanwhile.

        """
        self._synchronize()
        self._find_cards()
        self._states = {uuid: state.snapshot(gauge.card) for uuid, gauge in self._gauges.items()}
        for gauge in self._gauges.values():
            gauge.open()
        _follow(list(self._gauges.values()), self._clock)
        barrier()
        self._rapl = rapl.read(self._powercap, self._clock)
        self._start_s = self._clock.now_s()

    def end(self) -> EnergyMetrics:
        """Close the window that `begin` opened; follows the counters until they contain all of its energy.

        Raises:
            RuntimeError: `begin` was not called.

        """
        if self._start_s is None or self._rapl is None:
            raise RuntimeError("EnergyMeter.end() without begin(): call begin() right before the work to measure")
        self._synchronize()
        end_s = self._clock.now_s()
        host = rapl.read(self._powercap, self._clock)
        for gauge in self._gauges.values():
            gauge.open(after=True)
            gauge.poll()
        clocks = {uuid: state.read_clocks(gauge.card) for uuid, gauge in self._gauges.items()}
        _follow(list(self._gauges.values()), self._clock)
        gpus = tuple(self._gpu(uuid, clocks.get(uuid), self._start_s, end_s) for uuid in self.gpu_uuids)
        methods = {gauge.method for gauge in self._gauges.values()}
        self._last = _metrics(gpus, methods, end_s - self._start_s, self._rapl, host)
        self._start_s = None
        return self._last

    def relative_uncertainty_after(self, duration_s: float) -> float | None:
        """Relative uncertainty that a window this long would have; None without a GPU that can be measured. Unit: 1.

        Predicted from the last window's figures, or before the first window from the counter's period. It reads nothing
        and may be called inside a window. The uncertainty comes from the ends and does not grow with the window.
        """
        periods = [gauge.period_s for gauge in self._gauges.values() if gauge.period_s is not None]
        if not periods or self._faults or duration_s <= 0:
            return None
        last = self._last
        if last is not None and last.gpu_energy_j and last.gpu_energy_uncertainty_j is not None and last.duration_s:
            power_w = last.gpu_energy_j / last.duration_s
            return last.gpu_energy_uncertainty_j / (power_w * duration_s)
        return (0.05 * max(periods) + POLL_S) / duration_s

    def _find_cards(self) -> None:
        """Open the cards, again if that failed before: a driver may come back between two windows."""
        self._faults = {}
        for uuid in self.gpu_uuids:
            try:
                if uuid not in self._gauges:
                    card = self._system.open_card(uuid)
                    self._names[uuid] = nvml.or_none(card.name)
                    self._driver = nvml.or_none(self._system.driver_version) or ""
                    card.refuse_mig()
                    self._gauges[uuid] = gauge_for(card, self._system)
                self._gauges[uuid].card.refuse_mig()
            except CardFault as fault:
                self._gauges.pop(uuid, None)
                self._faults[uuid] = fault.reason

    def _gpu(self, uuid: str, clocks: state.Clocks | None, start_s: float, end_s: float) -> GpuState:
        gauge = self._gauges.get(uuid)
        if gauge is None:
            reason = self._faults[uuid]
            mig = True if reason == "mig" else None
            return GpuState(uuid=uuid, name=self._names.get(uuid), reasons=(reason,), mig=mig)
        result = gauge.result(start_s, end_s)
        before, after = self._states[uuid], state.snapshot(gauge.card, clocks)
        limit_w = after.power_limit_w or before.power_limit_w
        result = _possible(result, limit_w, end_s - start_s)
        baseline, idle_reasons = self._baseline(uuid, result)
        throttled, causes = state.throttling(before, after)
        foreign = state.foreign(before, after, self.own_pids)
        flags: dict[EnergyReason, object] = {"throttled": throttled, "foreign_processes": foreign}
        return GpuState(
            uuid=uuid,
            name=self._names.get(uuid),
            energy_j=result.estimate.energy_j if result.estimate else None,
            energy_uncertainty_j=result.estimate.uncertainty_j if result.estimate else None,
            idle_power_w=baseline.power_w if baseline else None,
            idle_power_uncertainty_w=baseline.uncertainty_w if baseline else None,
            idle_power_age_s=max(0.0, start_s - baseline.at_s) if baseline else None,
            counter_period_ms=result.period_s * 1000 if result.period_s else None,
            throttled=throttled,
            throttle_reasons=causes,
            temperature_start_c=before.temperature_c,
            temperature_end_c=after.temperature_c,
            sm_clock_mhz=after.sm_clock_mhz,
            power_limit_w=limit_w,
            foreign_processes=foreign,
            mig=False,
            reasons=(*result.reasons, *idle_reasons, *(reason for reason, flagged in flags.items() if flagged)),
        )

    def _baseline(self, uuid: str, result: GaugeResult) -> tuple[idle.Baseline | None, tuple[EnergyReason, ...]]:
        """The card's idle power: as measured by `measure_idle`, else the power right before the window."""
        known, level = self._system.baselines.get((uuid, self._driver)), result.before
        if known is None:
            unsettled = level is None or "unsettled_before" in result.reasons
            return (None, ("no_idle_baseline",)) if unsettled or level is None else (idle.baseline_of(level), ())
        if level is not None and known.drifted(level):
            del self._system.baselines[uuid, self._driver]
            return known, ("idle_drift",)
        return known, ()


def _follow(gauges: Sequence[Gauge], clock: Clock, *, at_least_s: float = 0.0) -> None:
    """Read all cards in turn until every gauge is ready, for at least `at_least_s`."""
    opened_s = clock.now_s()
    while gauges:
        for gauge in gauges:
            gauge.poll()
        if all(gauge.ready() for gauge in gauges) and clock.now_s() - opened_s >= at_least_s:
            return  # right after the last step, without another pause
        clock.sleep(POLL_S)


def _possible(result: GaugeResult, limit_w: float | None, duration_s: float) -> GaugeResult:
    """Reject an energy that the card could not have drawn."""
    estimate = result.estimate
    if estimate is None:
        return result
    least_j = estimate.energy_j - estimate.uncertainty_j
    if limit_w is not None and least_j / duration_s > MAX_OVER_LIMIT * limit_w:
        return result.refused("above_power_limit")
    if estimate.energy_j < 0:
        return result.refused("negative_energy")
    return result


def _metrics(
    gpus: Sequence[GpuState], methods: Collection[str], duration_s: float, start: rapl.Reading, end: rapl.Reading
) -> EnergyMetrics:
    """Combine the cards and the host. The sum over the cards is null if one of them is."""
    cpu_j, cpu_reason = rapl.between(start, end, "cpu")
    dram_j, dram_reason = rapl.between(start, end, "dram")
    energies = [gpu.energy_j for gpu in gpus]
    total = math.fsum(e for e in energies if e is not None) if gpus and None not in energies else None
    # Lag and falling power affect all cards in the same direction, so their uncertainties add up linearly.
    uncertainty = None if total is None else math.fsum(gpu.energy_uncertainty_j or 0 for gpu in gpus)
    idles = [gpu.idle_power_w for gpu in gpus]
    idle_w = math.fsum(w for w in idles if w is not None) if gpus and None not in idles else None
    net = None if total is None or idle_w is None else total - idle_w * duration_s
    # The idle power also enters the energy, subtracted at the window's ends: the two errors have the same sign.
    idle_error_w = math.fsum(gpu.idle_power_uncertainty_w or 0 for gpu in gpus)
    net_uncertainty = None if net is None or uncertainty is None else uncertainty + idle_error_w * duration_s
    no_gpu: tuple[EnergyReason, ...] = ("no_gpu",)
    reasons = tuple(sorted({reason for gpu in gpus for reason in gpu.reasons})) if gpus else no_gpu
    periods = [gpu.counter_period_ms for gpu in gpus if gpu.counter_period_ms is not None]
    method: EnergyMethod = "none"
    if total is not None:
        method = "nvml_power" if "nvml_power" in methods else "nvml_counter"
    elif not gpus and cpu_j is not None:
        method = "rapl"
    return EnergyMetrics(
        gpu_energy_j=total,
        gpu_energy_uncertainty_j=uncertainty,
        gpu_energy_net_j=net,
        gpu_energy_net_uncertainty_j=net_uncertainty,
        idle_power_w=idle_w,
        duration_s=duration_s,
        energy_method=method,
        energy_confidence=_confidence(total, uncertainty, reasons),
        energy_reasons=reasons,
        counter_period_ms=max(periods, default=None),
        per_gpu={gpu.uuid: gpu.energy_j for gpu in gpus if gpu.energy_j is not None},
        cpu_energy_j=cpu_j,
        cpu_energy_reason=cpu_reason,
        dram_energy_j=dram_j,
        dram_energy_reason=dram_reason,
        gpus=tuple(gpus),
    )


def _confidence(total_j: float | None, uncertainty_j: float | None, reasons: Sequence[str]) -> Confidence | None:
    if total_j is None or uncertainty_j is None:
        return None
    relative = uncertainty_j / total_j if total_j > 0 else math.inf
    if relative < 0.05 and not reasons:
        return "high"
    return "medium" if relative < 0.20 and len(reasons) <= 1 else "low"
