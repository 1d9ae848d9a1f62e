"""Descriptions of this machine's cards, for the environment record and for listings. Measures nothing."""

from collections.abc import Sequence

from pydantic import NonNegativeFloat

from workers.energy import nvml
from workers.energy.nvml import Card, CardFault, or_none
from workers.records import Record


class CardInfo(Record):
    """One card as NVML describes it."""

    uuid: str
    """UUID, in NVML's format."""
    name: str | None = None
    """Name, from NVML."""
    memory_total_mb: NonNegativeFloat | None = None
    """Memory of the card. Unit: MB (10^6 bytes)."""
    power_limit_w: NonNegativeFloat | None = None
    """Enforced power limit. Unit: W."""
    mig: bool | None = None
    """Whether the card is split by MIG; its energy is then not measured."""
    energy_counter: bool | None = None
    """Whether it has an energy counter (Volta and later)."""
    instant_power: bool | None = None
    """Whether it reports instant power (field 186), not only an average."""
    reason: str | None = None
    """Why the card cannot be described."""


def cards(uuids: Sequence[str] | None = None) -> tuple[CardInfo, ...]:
    """Describe the given cards, or all cards of this machine; empty without NVML. Never raises."""
    if uuids is None:
        uuids = or_none(nvml.uuids) or ()
    return tuple(_describe(nvml.nvml_uuid(uuid)) for uuid in uuids)


def card_names(uuids: Sequence[str]) -> tuple[str, ...]:
    """Names of the given cards in their order; `unknown` for one that NVML does not know. Never raises."""
    return tuple(card.name or "unknown" for card in cards(uuids))


def driver_version() -> str | None:
    """Version of the NVIDIA driver; null without one. Never raises."""
    return or_none(nvml.driver_version)


def _describe(uuid: str) -> CardInfo:
    try:
        card = Card(uuid)
    except CardFault as fault:
        return CardInfo(uuid=uuid, reason=fault.reason)
    return CardInfo(
        uuid=uuid,
        name=or_none(card.name),
        memory_total_mb=or_none(card.memory_total_mb),
        power_limit_w=or_none(card.power_limit_w),
        mig=or_none(card.mig),
        energy_counter=or_none(card.energy_mj) is not None,
        instant_power=or_none(card.instant_power_w) is not None,
    )
