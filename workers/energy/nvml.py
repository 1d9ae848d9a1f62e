"""NVML, one card at a time. The only importer of pynvml: every error becomes a `CardFault` with a reason."""

import functools
from collections.abc import Callable
from typing import Any, NewType, ParamSpec, TypeVar

import pynvml

from workers.energy import system
from workers.records.energy import KnownEnergyReason
from workers.records.errors import JouleGridError

P = ParamSpec("P")
T = TypeVar("T")

OtherReason = NewType("OtherReason", str)
"""A reason that this program has no word for: `nvml_error_N`, or `nvml_` and the class of an exception of pynvml."""

EnergyReason = KnownEnergyReason | OtherReason

_REASONS: dict[int, KnownEnergyReason] = {
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

# Causes of throttling. Low utilisation and clocks set by the user do not count as throttling.
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
# Member of NVML's value union for each type of field.
_FIELD_MEMBERS = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
}


class CardFault(JouleGridError):  # noqa: N818 - a fault of the card, carried as a reason, not an error of the caller
    """NVML or a card does not answer. `reason` is a machine-readable word."""

    def __init__(self, reason: EnergyReason) -> None:
        super().__init__(reason)
        self.reason = reason


def _faulting(call: Callable[P, T]) -> Callable[P, T]:
    """Turn every exception into a `CardFault`: pynvml raises more than NVMLError (missing symbols, bad text)."""

    @functools.wraps(call)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except CardFault:
            raise
        except pynvml.NVMLError as error:
            raise CardFault(_REASONS.get(error.value) or OtherReason(f"nvml_error_{error.value}")) from error
        except Exception as error:
            raise CardFault(OtherReason(f"nvml_{type(error).__name__}")) from error

    return inner


def or_none(call: Callable[[], T]) -> T | None:
    """The result of a call, or None after a `CardFault`: for figures that are optional."""
    try:
        return call()
    except CardFault:
        return None


class Card:
    """One GPU by UUID.

    Raises:
        CardFault: `unknown_uuid`, `mig`, `no_nvml`, `no_permission`... It never falls back to another card.

    """

    @_faulting
    def __init__(self, uuid: str) -> None:
        self.uuid = nvml_uuid(uuid)
        if self.uuid.startswith("MIG-"):
            raise CardFault("mig")
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(self.uuid)
        if pynvml.nvmlDeviceGetUUID(self._handle) != self.uuid:
            raise CardFault("unknown_uuid")

    @_faulting
    def name(self) -> str:
        """Name of the card."""
        return str(pynvml.nvmlDeviceGetName(self._handle))

    @_faulting
    def mig(self) -> bool:
        """Whether the card is split by MIG; False if it does not support MIG."""
        try:
            return bool(pynvml.nvmlDeviceGetMigMode(self._handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE)
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
            return False

    def refuse_mig(self) -> None:
        """Raise if the card is split by MIG: its counters cover the whole card, and a slice's share is unknown.

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
        """Instant power: field 186. Unit: W."""
        field = pynvml.nvmlDeviceGetFieldValues(self._handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])[0]
        if field.nvmlReturn != pynvml.NVML_SUCCESS:
            raise pynvml.NVMLError(field.nvmlReturn)
        return float(getattr(field.value, _FIELD_MEMBERS[field.valueType])) / 1000

    @_faulting
    def plain_power_w(self) -> float:
        """Power, on most cards an average over the last second. Unit: W."""
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
        """Current SM clock. Unit: MHz."""
        return float(pynvml.nvmlDeviceGetClockInfo(self._handle, pynvml.NVML_CLOCK_SM))

    @_faulting
    def memory_total_mb(self) -> float:
        """Memory of the card. Unit: MB (10^6 bytes)."""
        return float(pynvml.nvmlDeviceGetMemoryInfo(self._handle).total) / 1e6

    @_faulting
    def pids(self) -> frozenset[int]:
        """Processes that compute on the card, without those that only do graphics."""
        return frozenset(int(p.pid) for p in pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle))

    @_faulting
    def violations(self) -> dict[str, int]:
        """Time that the card has been throttled so far, by cause; causes that it does not count are absent."""
        times = {}
        for name, policy in _VIOLATIONS.items():
            try:
                times[name] = int(pynvml.nvmlDeviceGetViolationStatus(self._handle, policy).violationTime)
            except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NoPermission):
                continue
        return times

    @_faulting
    def clock_events(self) -> tuple[str, ...]:
        """Causes that throttle the card now."""
        try:
            bits = pynvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle)
        except pynvml.NVMLError_FunctionNotFound:  # drivers before 535 have it under its old name
            bits = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle)
        return tuple(name for name, mask in _CLOCK_EVENTS.items() if int(bits) & mask)


def power_reader(card: system.Card) -> tuple[Callable[[], float], bool]:
    """The best power reading of a card (W), and whether it is instant.

    Raises:
        CardFault: the card has none.

    """
    try:
        card.instant_power_w()
    except CardFault:
        card.plain_power_w()
        return card.plain_power_w, False
    return card.instant_power_w, True


def nvml_uuid(uuid: Any) -> str:
    """A UUID in NVML's format: torch omits the prefix `GPU-`."""
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
