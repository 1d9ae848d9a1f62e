"""Grams of CO2 equivalent from joules. The carbon intensity, its source and its date are from the sweep file."""

_J_PER_KWH = 3.6e6


def grams_co2e(energy_j: float, *, grams_per_kwh: float) -> float:
    """Emissions of an energy (J) at a carbon intensity (g CO2e/kWh). Unit: g CO2e.

    >>> grams_co2e(3.6e6, grams_per_kwh=381)
    381.0
    """
    return energy_j * grams_per_kwh / _J_PER_KWH
