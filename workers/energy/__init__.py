"""Joules in a window, with their uncertainty and every reason to doubt them. See `docs/energy.md`."""

from workers.energy.cards import CardInfo, card_names, cards, driver_version
from workers.energy.meter import EnergyMeter

__all__ = ["CardInfo", "EnergyMeter", "card_names", "cards", "driver_version"]
