"""Energy of a window, with its uncertainty and every reason to doubt it. See `docs/energy.md`."""

from workers.energy.card_info import CardInfo, card_names, cards, driver_version
from workers.energy.meter import EnergyMeter

__all__ = ["CardInfo", "EnergyMeter", "card_names", "cards", "driver_version"]
