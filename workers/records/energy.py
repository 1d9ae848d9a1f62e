"""Joules in a window, with their uncertainty and every reason to doubt them."""

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from workers.records._base import Confidence, Record

EnergyMethod = Literal["nvml_counter", "nvml_power", "rapl", "none"]


class GpuState(Record):
    """One card around the window: what could have bent its figures."""

    uuid: str
    """The card's UUID as CUDA and NVML spell it (`GPU-...`)."""
    name: str | None = None
    """The card's name as NVML spells it."""
    energy_j: NonNegativeFloat | None = None
    """This card's energy over the window; null where unreadable. Unit: J."""
    energy_uncertainty_j: NonNegativeFloat | None = None
    """Half width of the 95 % interval around `energy_j`. Unit: J."""
    idle_power_w: NonNegativeFloat | None = None
    """Power of this card at rest with the model loaded. Unit: W."""
    idle_power_uncertainty_w: NonNegativeFloat | None = None
    """Half width of the 95 % interval around `idle_power_w`. Unit: W."""
    idle_power_age_s: NonNegativeFloat | None = None
    """How long before the window the idle power was measured. Unit: s."""
    counter_period_ms: NonNegativeFloat | None = None
    """How often this card's energy counter was seen to step. Unit: ms."""
    throttled: bool | None = None
    """Whether the card was held back in the window (power, heat); null where it does not say."""
    throttle_reasons: tuple[str, ...] = ()
    """What held it back."""
    temperature_start_c: float | None = None
    """Core temperature before the window. Unit: degree Celsius."""
    temperature_end_c: float | None = None
    """Core temperature after the window. Unit: degree Celsius."""
    sm_clock_mhz: NonNegativeFloat | None = None
    """SM clock right after the window. Unit: MHz."""
    power_limit_w: NonNegativeFloat | None = None
    """Enforced power limit. Unit: W."""
    foreign_processes: NonNegativeInt | None = None
    """Processes on the card that are not this run's; null where NVML does not list them."""
    mig: bool | None = None
    """Whether the card is split by MIG; null where it does not say."""
    reasons: tuple[str, ...] = ()
    """Machine-readable doubts about this card's figures, and why one is missing."""


class EnergyMetrics(Record):
    """Energy of one window of one process. A figure that could not be read is null, never 0.0."""

    gpu_energy_j: NonNegativeFloat | None = None
    """Energy of the process's GPUs over the window, idle share included. Unit: J."""
    gpu_energy_uncertainty_j: NonNegativeFloat | None = None
    """Half width of the 95 % interval around `gpu_energy_j` (counter steps, clocks). Unit: J."""
    gpu_energy_net_j: float | None = None
    """`gpu_energy_j` less the idle power over the window; may be negative, and is not clamped. Unit: J."""
    gpu_energy_net_uncertainty_j: NonNegativeFloat | None = None
    """Half width of the 95 % interval around `gpu_energy_net_j`: the baseline's share included. Unit: J."""
    idle_power_w: NonNegativeFloat | None = None
    """Power of the process's GPUs at rest with the model loaded, summed. Unit: W."""
    duration_s: NonNegativeFloat | None = None
    """Time between the two readings that `gpu_energy_j` is for. Unit: s."""
    energy_method: EnergyMethod = "none"
    """How the GPU energy was obtained."""
    energy_confidence: Confidence | None = None
    """`high`: under 5 % uncertain and no doubt; `medium`: one doubt, or under 20 %; `low`: worse; null: no figure."""
    energy_reasons: tuple[str, ...] = ()
    """Machine-readable doubts (`short_window`, `throttled`...), and why a figure is missing."""
    counter_period_ms: NonNegativeFloat | None = None
    """The slowest counter's period among the GPUs. Unit: ms."""
    per_gpu: dict[str, NonNegativeFloat] = {}
    """Energy by GPU UUID, so that a GPU shared by two ranks is counted once. Unit: J."""
    cpu_energy_j: NonNegativeFloat | None = None
    """Energy of the host's CPU packages over the window, everything that ran on them included. Unit: J."""
    cpu_energy_reason: str | None = None
    """Why there is no `cpu_energy_j`."""
    dram_energy_j: NonNegativeFloat | None = None
    """Energy of the host's memory over the window, where RAPL has that domain. Unit: J."""
    dram_energy_reason: str | None = None
    """Why there is no `dram_energy_j`."""
    gpus: tuple[GpuState, ...] = ()
    """Each card around the window."""
