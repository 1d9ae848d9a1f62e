"""The words of `energy_reasons`, spelled out for people."""

from collections.abc import Iterable

SAID = {
    "no_gpu": "no GPU was used",
    "no_nvml": "NVML's library is not installed",
    "no_driver": "the NVIDIA driver is not loaded",
    "driver_mismatch": "NVML's library is of another version than the driver",
    "no_permission": "reading is not permitted",
    "not_supported": "the card does not report it",
    "nvml_timeout": "NVML did not answer in time",
    "unknown_uuid": "NVML does not know this card",
    "mig": "the counters are the whole card's, and this is a MIG slice",
    "gpu_lost": "the card was lost",
    "gpu_reset_required": "the card needs a reset",
    "counter_reset": "the energy counter ran backwards",
    "counter_stalled": "the energy counter stood still",
    "above_power_limit": "the mean power would be above the card's limit",
    "negative_energy": "the energy would be negative",
    "power_sampler_failed": "the process that samples power died",
    "power_samples_missing": "samples of power are missing",
    "short_window": "the window is shorter than two periods of the counter",
    "unsettled_before": "the power was not level before the window",
    "unsettled_after": "the power was not level after the window",
    "power_sampled": "power was sampled, for there is no energy counter",
    "power_averaged": "the card reports power as an average over a second",
    "throttled": "the card was throttled",
    "foreign_processes": "another process computed on the card",
    "idle_drift": "the card rests at another power than its baseline",
    "no_idle_baseline": "no power at rest was measured",
    "shared_gpu": "several ranks used one card",
}
"""Reason -> what it means; docs/energy.md says more of each."""


def spelled(reasons: Iterable[str]) -> str:
    """All of them in one line; a word that is not known stands as it is."""
    return ", ".join(SAID.get(reason, reason) for reason in reasons)
