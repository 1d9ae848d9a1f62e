"""Energy of a window, with its uncertainty and every reason to doubt it."""

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from workers.records.base import Confidence, Record

EnergyMethod = Literal["nvml_counter", "nvml_power", "rapl", "none"]


KnownEnergyReason = Literal[
    "no_gpu",
    "no_nvml",
    "no_driver",
    "driver_mismatch",
    "no_permission",
    "not_supported",
    "nvml_timeout",
    "unknown_uuid",
    "mig",
    "gpu_lost",
    "gpu_reset_required",
    "counter_reset",
    "counter_stalled",
    "above_power_limit",
    "negative_energy",
    "power_sampler_failed",
    "power_samples_missing",
    "short_window",
    "unsettled_before",
    "unsettled_after",
    "power_sampled",
    "power_averaged",
    "throttled",
    "foreign_processes",
    "idle_drift",
    "no_idle_baseline",
    "shared_gpu",
    "fake_engine",
]
"""The values of `energy_reasons`; NVML's other errors are `nvml_error_N`, with N the number of the error."""


class GpuState(Record):
    """The state of one card around the window: whatever may have influenced its figures."""

    uuid: str
    """The card's UUID (`GPU-...`)."""
    name: str | None = None
    """The card's name, from NVML."""
    energy_j: NonNegativeFloat | None = None
    """This card's energy over the window; null if it could not be measured. Unit: J."""
    energy_uncertainty_j: NonNegativeFloat | None = None
    """Half width of the 95 % interval around `energy_j`. Unit: J."""
    idle_power_w: NonNegativeFloat | None = None
    """Idle power of this card with the model loaded. Unit: W."""
    idle_power_uncertainty_w: NonNegativeFloat | None = None
    """Half width of the 95 % interval around `idle_power_w`. Unit: W."""
    idle_power_age_s: NonNegativeFloat | None = None
    """How long before the window the idle power was measured. Unit: s."""
    counter_period_ms: NonNegativeFloat | None = None
    """Observed period of this card's energy counter. Unit: ms."""
    throttled: bool | None = None
    """Whether the card was throttled in the window (power, heat); null if unknown."""
    throttle_reasons: tuple[str, ...] = ()
    """Why it was throttled."""
    temperature_start_c: float | None = None
    """Core temperature before the window. Unit: degree Celsius."""
    temperature_end_c: float | None = None
    """Core temperature after the window. Unit: degree Celsius."""
    sm_clock_mhz: NonNegativeFloat | None = None
    """SM clock right after the window. Unit: MHz."""
    power_limit_w: NonNegativeFloat | None = None
    """Enforced power limit. Unit: W."""
    foreign_processes: NonNegativeInt | None = None
    """Number of processes on the card that do not belong to this run; null if NVML does not list them."""
    mig: bool | None = None
    """Whether the card is split by MIG; null if unknown."""
    reasons: tuple[str, ...] = ()
    """Machine-readable reasons to doubt this card's figures, and why a figure is missing."""


class EnergyMetrics(Record):
    """Energy of one window of one process. A figure that could not be read is null, never 0.0."""

    gpu_energy_j: NonNegativeFloat | None = None
    """Energy of the process's GPUs over the window, idle power included. Unit: J."""
    gpu_energy_uncertainty_j: NonNegativeFloat | None = None
    """Half width of the 95 % interval around `gpu_energy_j` (counter steps, clocks). Unit: J."""
    gpu_energy_net_j: float | None = None
    """`gpu_energy_j` less the idle power over the window; may be negative, and is not clamped. Unit: J."""
    gpu_energy_net_uncertainty_j: NonNegativeFloat | None = None
    """Half width of the 95 % interval around `gpu_energy_net_j`, with the idle power's uncertainty. Unit: J."""
    idle_power_w: NonNegativeFloat | None = None
    """Idle power of all the process's GPUs together, with the model loaded. Unit: W."""
    duration_s: NonNegativeFloat | None = None
    """Time that `gpu_energy_j` covers. Unit: s."""
    energy_method: EnergyMethod = "none"
    """How the GPU energy was measured."""
    energy_confidence: Confidence | None = None
    """`high`: below 5 % uncertain, no doubt; `medium`: below 20 %, at most one doubt; `low`: else; null: no figure."""
    energy_reasons: tuple[str, ...] = ()
    """Machine-readable reasons to doubt the energy (`short_window`, `throttled`...), and why a figure is missing."""
    counter_period_ms: NonNegativeFloat | None = None
    """Period of the slowest energy counter among the GPUs. Unit: ms."""
    per_gpu: dict[str, NonNegativeFloat] = {}
    """Energy by GPU UUID, so that a GPU shared by two ranks is counted once. Unit: J."""
    cpu_energy_j: NonNegativeFloat | None = None
    """Energy of the host's CPU packages over the window, with everything that ran on them. Unit: J."""
    cpu_energy_reason: str | None = None
    """Why `cpu_energy_j` is missing."""
    dram_energy_j: NonNegativeFloat | None = None
    """Energy of the host's memory over the window, if RAPL has that domain. Unit: J."""
    dram_energy_reason: str | None = None
    """Why `dram_energy_j` is missing."""
    gpus: tuple[GpuState, ...] = ()
    """The state of each card around the window."""
