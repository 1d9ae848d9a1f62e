"""What each word of `energy_reasons` means, as text."""

from collections.abc import Iterable
from typing import cast

from workers.records.energy import KnownEnergyReason

EXPLANATIONS: dict[KnownEnergyReason, str] = {
    "no_gpu": "no GPU was used",
    "no_nvml": "NVML's library is not installed",
    "no_driver": "the NVIDIA driver is not loaded",
    "driver_mismatch": "the versions of NVML's library and the driver do not match",
    "no_permission": "no permission to read NVML",
    "not_supported": "the card reports neither energy nor power",
    "nvml_timeout": "NVML did not answer in time",
    "unknown_uuid": "NVML does not know this card",
    "mig": "the counters are for the whole card, and this is a MIG slice",
    "gpu_lost": "the card became inaccessible",
    "gpu_reset_required": "the card needs a reset",
    "counter_reset": "the energy counter ran backwards",
    "counter_stalled": "the energy counter did not advance",
    "above_power_limit": "the mean power would exceed the card's limit",
    "negative_energy": "the energy would be negative",
    "power_sampler_failed": "the process that samples power died",
    "power_samples_missing": "power samples are missing",
    "short_window": "the window is shorter than two periods of the counter",
    "unsettled_before": "the power was not stable before the window",
    "unsettled_after": "the power was not stable after the window",
    "power_sampled": "power was sampled, because the card has no energy counter",
    "power_averaged": "the card reports power as an average over one second",
    "throttled": "the card was throttled",
    "foreign_processes": "another process computed on the card",
    "idle_drift": "the card's idle power differs from its baseline",
    "no_idle_baseline": "the idle power was not measured",
    "shared_gpu": "several ranks used one card",
    "fake_engine": "the fake engine measures nothing",
}
"""Reason -> what it means; docs/energy.md has the details."""


def explain(reasons: Iterable[str]) -> str:
    """All of them in one line; an unknown reason is kept as it is."""
    return ", ".join(EXPLANATIONS.get(cast(KnownEnergyReason, reason), reason) for reason in reasons)
