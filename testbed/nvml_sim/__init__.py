"""Simulated cards: a test sets their true power, and unmodified pynvml reads what NVML would report.

    with Simulation(folder, gpus=2) as cards:       # builds libnvidia-ml.so.1 with cc, once per machine
        cards[0].period_ms = 100
        cards[0].power(60)                          # from now on, W
        cards.python("print(...)")                  # a process that loads this library through LD_LIBRARY_PATH
        cards[0].true_energy_j(start_ns, end_ns)    # exactly

The state is in a mapped file that all processes share, so a test can change the power from outside, and from inside the
measuring process (`Simulation.attach()`) around the measured code. Times are those of `time.monotonic_ns()`.
"""

import ctypes
import fcntl
import hashlib
import mmap
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

_SOURCE = Path(__file__).with_name("nvml_sim.c")
_ROOT = Path(__file__).resolve().parents[2]
_MAX_EVENTS, _MAX_PIDS, _POLICIES, _MAX_GPUS = 4096, 16, 12, 8
NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, UNKNOWN = 3, 4, 9, 999


class _Event(ctypes.Structure):
    _fields_ = (
        ("at_ns", ctypes.c_int64),
        ("ramp_ns", ctypes.c_int64),
        ("from_w", ctypes.c_double),
        ("to_w", ctypes.c_double),
        ("energy_j", ctypes.c_double),
    )


def _fields(names: str, ctype: Any) -> list[tuple[str, Any]]:
    return [(name, ctype) for name in names.split()]


class Gpu(ctypes.Structure):
    """One card. Every NVML call reads the fields again, so a test may change them at any time."""

    _fields_ = (
        ("uuid", ctypes.c_char * 80),
        ("name", ctypes.c_char * 64),
        *_fields(
            "period_ns phase_ns jitter_ns lag_ns smear_ns quantum_mj counter_start_mj reset_at_ns stall_at_ns "
            "lost_at_ns plain_average_ns instant_hold_ns instant_average_ns read_ns",
            ctypes.c_int64,
        ),
        *_fields(
            "error_energy error_plain error_instant error_processes error_violation error_handle error_clock_events "
            "mig_error mig_enabled",
            ctypes.c_int32,
        ),
        *_fields("power_limit_mw temperature_c sm_clock_mhz", ctypes.c_uint32),
        *_fields("n_pids n_events", ctypes.c_int32),
        ("_pids", ctypes.c_uint32 * _MAX_PIDS),
        ("violation_ns", ctypes.c_uint64 * _POLICIES),
        *_fields("clock_event_reasons calls", ctypes.c_uint64),
        ("_events", _Event * _MAX_EVENTS),
    )

    def power(self, watts: float, *, ramp_s: float = 0.0, at_ns: int | None = None) -> int:
        """Set the power to `watts` from `at_ns` (default: now) on, reached linearly over `ramp_s`.

        Drops later events. Returns the time of the event. Unit: ns.
        """
        at_ns = time.monotonic_ns() if at_ns is None else at_ns
        while self.n_events and self._events[self.n_events - 1].at_ns >= at_ns:
            self.n_events -= 1
        if self.n_events == _MAX_EVENTS:
            raise OverflowError(f"a simulated card holds {_MAX_EVENTS} power events")
        before, energy = (watts, 0.0) if self.n_events == 0 else (self._power_w(at_ns), self._energy_j(at_ns))
        self._events[self.n_events] = _Event(at_ns, int(ramp_s * 1e9), before, watts, energy)
        self.n_events += 1  # last, as other processes may read at the same time
        return at_ns

    def true_energy_j(self, start_ns: int, end_ns: int) -> float:
        """True energy between two moments. Unit: J."""
        return self._energy_j(end_ns) - self._energy_j(start_ns)

    def set_pids(self, *pids: int) -> None:
        """Make NVML list these processes on the card."""
        self._pids[: len(pids)] = pids
        self.n_pids = len(pids)

    def _event(self, at_ns: int) -> _Event:
        events = (self._events[i] for i in range(self.n_events - 1, -1, -1))
        return next((e for e in events if e.at_ns <= at_ns), self._events[0])

    def _power_w(self, at_ns: int) -> float:
        event = self._event(at_ns)
        if at_ns >= event.at_ns + event.ramp_ns:
            return event.to_w
        return event.from_w + (event.to_w - event.from_w) * max(0, at_ns - event.at_ns) / event.ramp_ns

    def _energy_j(self, at_ns: int) -> float:
        event = self._event(at_ns)
        t, ramp = (at_ns - event.at_ns) * 1e-9, event.ramp_ns * 1e-9
        if t >= ramp:
            return event.energy_j + (event.from_w + event.to_w) / 2 * ramp + event.to_w * (t - ramp)
        return event.energy_j + (event.from_w + self._power_w(at_ns)) / 2 * t


class _State(ctypes.Structure):
    _fields_ = (
        ("magic", ctypes.c_uint64),
        ("n_gpus", ctypes.c_int32),
        ("error_init", ctypes.c_int32),
        ("driver", ctypes.c_char * 80),
        ("gpus", Gpu * _MAX_GPUS),
    )


def build() -> Path:
    """Compile the library unless this source has been compiled before. Returns its folder."""
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"nvml-sim-{os.getuid()}-{digest}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "libnvidia-ml.so.1").exists():
            temporary = folder / "temporary.so"
            flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
            subprocess.run(["cc", *flags, "-o", str(temporary), str(_SOURCE), "-lm"], check=True)
            temporary.rename(folder / "libnvidia-ml.so.1")
    return folder


class Simulation:
    """The simulated cards of a machine. Indexing gives a `Gpu`."""

    def __init__(self, folder: Path, *, gpus: int = 1, idle_w: float = 60.0) -> None:
        """Create `gpus` idle cards, with UUIDs `GPU-5111...-0`, `-1`..., and a 100 ms counter."""
        self.path = folder / "nvml-state"
        self.path.write_bytes(bytes(ctypes.sizeof(_State)))
        self._map()
        self.state.magic, self.state.n_gpus, self.state.driver = ctypes.sizeof(_State), gpus, b"580.00 (simulated)"
        now = time.monotonic_ns()
        for index in range(gpus):
            gpu = self[index]
            gpu.uuid = f"GPU-51110000-0000-0000-0000-{index:012d}".encode()
            gpu.name = b"Simulated H100"
            gpu.period_ns, gpu.phase_ns, gpu.quantum_mj = 100_000_000, now % 100_000_000 + 7_000_000 * index, 1
            gpu.counter_start_mj = 123_456_789
            gpu.plain_average_ns = 1_000_000_000
            gpu.power_limit_mw, gpu.temperature_c, gpu.sm_clock_mhz = 700_000, 40, 1980
            gpu.power(idle_w, at_ns=now - 10_000_000_000)

    @classmethod
    def attach(cls) -> Self:
        """The simulation that this process's NVML reads, for code that sets the power and measures it."""
        self = cls.__new__(cls)
        self.path = Path(os.environ["NVML_SIM_STATE"])
        self._map()
        return self

    def _map(self) -> None:
        with self.path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(_State))
        self.state = _State.from_buffer(self._memory)

    def __getitem__(self, index: int) -> Gpu:
        return self.state.gpus[index]

    def uuid(self, index: int = 0) -> str:
        """UUID of a card."""
        return self[index].uuid.decode()

    @property
    def environment(self) -> dict[str, str]:
        """Environment in which a process's NVML shows these cards."""
        path = os.pathsep.join(filter(None, [str(build()), os.environ.get("LD_LIBRARY_PATH", "")]))
        return {
            **os.environ,
            "LD_LIBRARY_PATH": path,
            "NVML_SIM_STATE": str(self.path),
            "PYTHONPATH": str(_ROOT),
            "OMP_NUM_THREADS": "1",
        }

    def python(self, code: str, *, timeout_s: float = 120) -> str:
        """Run code in a new process with these cards; returns its output, raises RuntimeError if it fails."""
        done = subprocess.run(
            [sys.executable, "-c", code], env=self.environment, capture_output=True, text=True, timeout=timeout_s,
            check=False, cwd=_ROOT,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the simulated process failed with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout
