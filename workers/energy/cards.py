"""Which cards there are: for the environment record and for listings. No measurement."""

from collections.abc import Sequence

from pydantic import NonNegativeFloat

from workers.energy import nvml
from workers.energy.nvml import Card, CardFault, quietly
from workers.records import Record


class CardInfo(Record):
    """One card as NVML describes it."""

    uuid: str
    """UUID as NVML spells it."""
    name: str | None = None
    """Name as NVML spells it."""
    memory_total_mb: NonNegativeFloat | None = None
    """Memory of the card. Unit: MB (10^6 bytes)."""
    power_limit_w: NonNegativeFloat | None = None
    """Enforced power limit. Unit: W."""
    mig: bool | None = None
    """Whether it is split by MIG; its energy is refused then."""
    energy_counter: bool | None = None
    """Whether it has an energy counter (Volta and later)."""
    instant_power: bool | None = None
    """Whether it tells its power at once (field 186), not only as an average."""
    reason: str | None = None
    """Why the card cannot be described."""


def cards(uuids: Sequence[str] | None = None) -> tuple[CardInfo, ...]:
    """Describe the given cards, or all of this machine's; none where there is no NVML. Never raises."""
    if uuids is None:
        uuids = quietly(nvml.uuids) or ()
    return tuple(_describe(nvml.spelled(uuid)) for uuid in uuids)


def card_names(uuids: Sequence[str]) -> tuple[str, ...]:
    """Names of the given cards in their order; `unknown` for one that NVML does not know. Never raises."""
    return tuple(card.name or "unknown" for card in cards(uuids))


def driver_version() -> str | None:
    """Version of the NVIDIA driver; null without one. Never raises."""
    return quietly(nvml.driver_version)


def _describe(uuid: str) -> CardInfo:
    try:
        card = Card(uuid)
    except CardFault as fault:
        return CardInfo(uuid=uuid, reason=fault.reason)
    return CardInfo(
        uuid=uuid,
        name=quietly(card.name),
        memory_total_mb=quietly(card.memory_total_mb),
        power_limit_w=quietly(card.power_limit_w),
        mig=quietly(card.mig),
        energy_counter=quietly(card.energy_mj) is not None,
        instant_power=quietly(card.instant_power_w) is not None,
    )
