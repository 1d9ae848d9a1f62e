"""NVML, one card at a time. The only importer of pynvml: whatever goes wrong becomes a `CardFault` with a reason."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import pynvml

from workers.energy import system

P = ParamSpec("P")
T = TypeVar("T")

_REASONS = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no_nvml",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "no_driver",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "driver_mismatch",
    pynvml.NVML_ERROR_NO_PERMISSION: "no_permission",
    pynvml.NVML_ERROR_NOT_SUPPORTED: "not_supported",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "not_supported",
    pynvml.NVML_ERROR_NOT_FOUND: "unknown_uuid",
    pynvml.NVML_ERROR_INVALID_ARGUMENT: "unknown_uuid",
    pynvml.NVML_ERROR_GPU_IS_LOST: "gpu_lost",
    pynvml.NVML_ERROR_RESET_REQUIRED: "gpu_reset_required",
    pynvml.NVML_ERROR_TIMEOUT: "nvml_timeout",
}

# What holds a card back. Low utilisation and clocks that somebody set are no throttling, so they are not listed.
_VIOLATIONS = {
    "power": pynvml.NVML_PERF_POLICY_POWER,
    "thermal": pynvml.NVML_PERF_POLICY_THERMAL,
    "sync_boost": pynvml.NVML_PERF_POLICY_SYNC_BOOST,
    "board_limit": pynvml.NVML_PERF_POLICY_BOARD_LIMIT,
    "reliability": pynvml.NVML_PERF_POLICY_RELIABILITY,
}
_CLOCK_EVENTS = {
    "power": pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
    "thermal": pynvml.nvmlClocksEventReasonSwThermalSlowdown | pynvml.nvmlClocksEventReasonHwThermalSlowdown,
    "hardware_slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
    "sync_boost": pynvml.nvmlClocksEventReasonSyncBoost,
}
# Which member of NVML's value union holds a field of this type.
_FIELD_MEMBERS = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
}


class CardFault(Exception):  # noqa: N818 - a fault of the card, carried as a reason, not an error of the caller
    """NVML or a card does not answer. `reason` is one machine-readable word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _faulting(call: Callable[P, T]) -> Callable[P, T]:
    """Turn whatever a call raises into a `CardFault`: pynvml raises more than NVMLError (missing symbols, bad text)."""

    @functools.wraps(call)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except CardFault:
            raise
        except pynvml.NVMLError as error:
            raise CardFault(_REASONS.get(error.value, f"nvml_error_{error.value}")) from error
        except Exception as error:
            raise CardFault(f"nvml_{type(error).__name__}") from error

    return inner


def quietly(call: Callable[[], T]) -> T | None:
    """What a call returns, or null where the card does not say: for the figures that are only nice to have."""
    try:
        return call()
    except CardFault:
        return None


class Card:
    """One GPU by UUID.

    Raises:
        CardFault: `unknown_uuid`, `mig`, `no_nvml`, `no_permission`... There is no falling back to another card.

    """

    @_faulting
    def __init__(self, uuid: str) -> None:
        self.uuid = spelled(uuid)
        if self.uuid.startswith("MIG-"):
            raise CardFault("mig")
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(self.uuid)
        if pynvml.nvmlDeviceGetUUID(self._handle) != self.uuid:
            raise CardFault("unknown_uuid")

    @_faulting
    def name(self) -> str:
        """Name of the card, as NVML spells it."""
        return str(pynvml.nvmlDeviceGetName(self._handle))

    @_faulting
    def mig(self) -> bool:
        """Whether the card is split by MIG. A card that cannot be split is not."""
        try:
            return bool(pynvml.nvmlDeviceGetMigMode(self._handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE)
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
            return False

    def refuse_mig(self) -> None:
        """Raise where the card is split: its counters are the whole card's, and a slice's share of them is not known.

        Raises:
            CardFault: `mig`.

        """
        if self.mig():
            raise CardFault("mig")

    @_faulting
    def energy_mj(self) -> int:
        """Total-energy counter (Volta and later). Unit: mJ."""
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    @_faulting
    def instant_power_w(self) -> float:
        """Power now: field 186. Unit: W."""
        field = pynvml.nvmlDeviceGetFieldValues(self._handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])[0]
        if field.nvmlReturn != pynvml.NVML_SUCCESS:
            raise pynvml.NVMLError(field.nvmlReturn)
        return float(getattr(field.value, _FIELD_MEMBERS[field.valueType])) / 1000

    @_faulting
    def plain_power_w(self) -> float:
        """The plain power reading, on most cards an average over the last second. Unit: W."""
        return int(pynvml.nvmlDeviceGetPowerUsage(self._handle)) / 1000

    @_faulting
    def power_limit_w(self) -> float:
        """Enforced power limit. Unit: W."""
        return int(pynvml.nvmlDeviceGetEnforcedPowerLimit(self._handle)) / 1000

    @_faulting
    def temperature_c(self) -> float:
        """Core temperature. Unit: degree Celsius."""
        return float(pynvml.nvmlDeviceGetTemperature(self._handle, pynvml.NVML_TEMPERATURE_GPU))

    @_faulting
    def sm_clock_mhz(self) -> float:
        """SM clock now. Unit: MHz."""
        return float(pynvml.nvmlDeviceGetClockInfo(self._handle, pynvml.NVML_CLOCK_SM))

    @_faulting
    def memory_total_mb(self) -> float:
        """Memory of the card. Unit: MB (10^6 bytes)."""
        return float(pynvml.nvmlDeviceGetMemoryInfo(self._handle).total) / 1e6

    @_faulting
    def pids(self) -> frozenset[int]:
        """Processes that compute on the card; those that only draw do not count."""
        return frozenset(int(p.pid) for p in pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle))

    @_faulting
    def violations(self) -> dict[str, int]:
        """Time that the card has been held back so far, by cause; causes that it does not count are absent."""
        found = {}
        for name, policy in _VIOLATIONS.items():
            try:
                found[name] = int(pynvml.nvmlDeviceGetViolationStatus(self._handle, policy).violationTime)
            except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NoPermission):
                continue
        return found

    @_faulting
    def clock_events(self) -> tuple[str, ...]:
        """What holds the card back at this moment."""
        try:
            bits = pynvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle)
        except pynvml.NVMLError_FunctionNotFound:  # drivers before 535 know it by its old name
            bits = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle)
        return tuple(name for name, mask in _CLOCK_EVENTS.items() if int(bits) & mask)


def power_reader(card: system.Card) -> tuple[Callable[[], float], bool]:
    """The best power reading that a card has, and whether it tells the power at once (W).

    Raises:
        CardFault: it has none.

    """
    try:
        card.instant_power_w()
    except CardFault:
        card.plain_power_w()
        return card.plain_power_w, False
    return card.instant_power_w, True


def spelled(uuid: Any) -> str:
    """A UUID as NVML spells it: torch gives it without `GPU-`."""
    text = str(uuid)
    return text if text.startswith(("GPU-", "MIG-")) else f"GPU-{text}"


@_faulting
def driver_version() -> str:
    """Version of the NVIDIA driver."""
    pynvml.nvmlInit()
    return str(pynvml.nvmlSystemGetDriverVersion())


@_faulting
def uuids() -> tuple[str, ...]:
    """All cards of this machine, in NVML's order."""
    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    return tuple(str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles)
