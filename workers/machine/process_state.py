"""Detect changes of a process's state that would affect later runs: observe it before the first run and after each.

A model's own code (`trust_remote_code`) runs in the process that measures. A change that it leaves behind, such as
another number of torch's threads, would affect the figures of all later cells, so such a process is not used again.

TF32's flags for CUDA are not included: each load of a model sets them.
"""

import gc
import os
import resource
import signal
import sys
import sysconfig
import threading
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack as function_modes
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as dispatch_modes

_TINY = torch.full((), 1e-40, dtype=torch.float32)
"""A denormal number."""

_SETTINGS: dict[str, Callable[[], object]] = {
    "torch threads": torch.get_num_threads,
    "torch interop threads": torch.get_num_interop_threads,
    "torch default dtype": torch.get_default_dtype,
    "torch default device": torch.get_default_device,
    "torch gradients": torch.is_grad_enabled,
    "torch inference mode": torch.is_inference_mode_enabled,
    "torch anomaly detection": torch.is_anomaly_enabled,
    "torch autocast on the CPU": lambda: torch.is_autocast_enabled("cpu"),
    "torch autocast on CUDA": lambda: torch.is_autocast_enabled("cuda"),
    "torch deterministic mode": torch.get_deterministic_debug_mode,
    "torch denormal numbers": lambda: "flushed" if float(_TINY * 1) == 0 else "kept",
    "mkldnn": lambda: torch.backends.mkldnn.enabled,
    "mkldnn matmul precision": lambda: torch.backends.mkldnn.matmul.fp32_precision,
    "mkldnn convolution precision": lambda: torch.backends.mkldnn.conv.fp32_precision,
    "cuDNN": lambda: torch.backends.cudnn.enabled,
    "cuDNN benchmark": lambda: torch.backends.cudnn.benchmark,
    "cuDNN deterministic": lambda: torch.backends.cudnn.deterministic,
    "flash attention": torch.backends.cuda.flash_sdp_enabled,
    "memory-efficient attention": torch.backends.cuda.mem_efficient_sdp_enabled,
    "math attention": torch.backends.cuda.math_sdp_enabled,
    "cuDNN attention": torch.backends.cuda.cudnn_sdp_enabled,
    "quantized engine": lambda: torch.backends.quantized.engine,
    "torch dispatch modes": lambda: [type(mode).__name__ for mode in dispatch_modes()],
    "torch function modes": lambda: [type(mode).__name__ for mode in function_modes() if not _is_default_device(mode)],
    "torch profiler": torch.autograd._profiler_enabled,  # noqa: SLF001 - there is no public way to ask
    "hooks of all modules": lambda: dict(_module_hooks()),
    "working directory": os.getcwd,
    "CPU affinity": lambda: sorted(os.sched_getaffinity(0)),
    "priority": lambda: os.getpriority(os.PRIO_PROCESS, 0),
    "garbage collection": lambda: (gc.isenabled(), gc.get_threshold()),
    "garbage collection callbacks": lambda: list(gc.callbacks),
    "switch interval": sys.getswitchinterval,
    "trace and profile functions": lambda: (sys.gettrace(), sys.getprofile()),
    "timers": lambda: dict(_timers()),
    "threads": lambda: sorted(_threads()),
}
_SET_BY_LIBRARIES = {
    "CUDA_MODULE_LOADING",
    "KMP_DUPLICATE_LIB_OK",
    "NCCL_GRAPH_MIXING_SUPPORT",
    "TOKENIZERS_PARALLELISM",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_WARM_POOL",
    "TRITON_CACHE_DIR",
    "TRITON_LIBDEVICE_PATH",
    "TRITON_PTXAS_PATH",
    "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR",
}
"""Variables that torch, Triton and transformers set on the first use of CUDA or when they compile."""
_INSTALLED = (
    sysconfig.get_path("stdlib"),
    *(folder for folder in sys.path if folder.endswith(("site-packages", "dist-packages"))),
    "<frozen ",
)
"""Folders of Python and of installed libraries: those of this environment, of the user and of the system."""
_CHILDREN_OF_LIBRARIES = (
    b"workers.energy.sampler",
    b"multiprocessing.resource_tracker",
    b"_inductor/compile_worker",
)
"""Parts of the command lines of child processes that the meter, Python and torch's compiler start."""
_TIMERS = {name: getattr(signal, f"ITIMER_{name}") for name in ("REAL", "VIRTUAL", "PROF")}
_LIMITS = tuple(name for name in dir(resource) if name.startswith("RLIMIT_"))
_CALLED_THROUGH_CLASS = {classmethod, property}
_OF_PYTHON = (types.FunctionType, types.MethodType, staticmethod, classmethod)
_OWN_CODE = "transformers_modules"
"""The package name under which transformers imports the code that comes with a model."""


@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """A process's state at one moment."""

    settings: Mapping[str, object]
    environment: Mapping[str, str]
    functions: Mapping[str, Mapping[str, Any]]
    """By module or class, then by name: the functions themselves, as an id may be reused."""
    children: frozenset[str]


def observe() -> ProcessState:
    """Record the state of this process."""
    limits = {f"{name.removeprefix('RLIMIT_')} limit": _limit(name) for name in _LIMITS}
    return ProcessState(
        settings={name: _value(read) for name, read in (_SETTINGS | limits).items()},
        environment=dict(os.environ),
        functions={place: _functions(names) for place, names in _patchable()},
        children=frozenset(_children()),
    )


def changes(before: ProcessState, after: ProcessState) -> tuple[str, ...]:
    """Descriptions of all differences. Values of environment variables are omitted: they may be secrets."""
    return (
        *_changed_settings(before, after),
        *_changed_environment(before, after),
        *_replaced(before, after),
        *_left_running(before, after),
    )


def _changed_settings(before: ProcessState, after: ProcessState) -> Iterator[str]:
    for name, was in before.settings.items():
        now = after.settings[name]
        if now != was:
            yield f"{name}: {was} -> {now}"


def _changed_environment(before: ProcessState, after: ProcessState) -> Iterator[str]:
    for name in sorted((before.environment.keys() | after.environment.keys()) - _SET_BY_LIBRARIES):
        if before.environment.get(name) != after.environment.get(name):
            yield f"environment variable {name}"


def _left_running(before: ProcessState, after: ProcessState) -> Iterator[str]:
    """New child processes; one that has ended does not affect the next run."""
    for child in sorted(after.children - before.children):
        yield f"child process {child} left running"


def _replaced(before: ProcessState, after: ProcessState) -> Iterator[str]:
    """Functions that were replaced, and new ones that a model's own code has added."""
    for place, functions in after.functions.items():
        had = before.functions.get(place, {})
        if functions == had:  # nearly all
            continue
        for name, was in had.items():
            now = functions.get(name)
            if now is not was and not _is_torchs_own(now):
                yield f"{place}.{name} replaced"
        for name in sorted(functions.keys() - had.keys()):
            if _OWN_CODE in _packages(functions[name]):
                yield f"{place}.{name} replaced"


def _patchable() -> Iterator[tuple[str, dict[str, Any]]]:
    """The modules and classes whose functions are observed: `time`, and those that models consist of.

    transformers' packages are omitted: they only re-export names, and change as they are used.
    """
    for place, module in list(sys.modules.items()):
        of_models = place.startswith(("torch.nn", "transformers.")) and type(module) is types.ModuleType
        if of_models or place in {"time", "torch"}:
            names = vars(module).copy()  # other threads may import at the same time
            yield place, names
            for value in names.values():
                if isinstance(value, type) and value.__module__ == place:
                    yield f"{place}.{value.__qualname__}", vars(value).copy()


def _functions(names: dict[str, Any]) -> dict[str, Any]:
    """A module's functions and classes, or a class's methods and properties."""
    return {name: value for name, value in names.items() if callable(value) or type(value) in _CALLED_THROUGH_CLASS}


def _is_torchs_own(function: Any) -> bool:
    """Whether torch replaced it: its compiler wraps a few functions on first use. A compiled function is a change."""
    return set(_packages(function)) == {"torch"} and not hasattr(function, "_is_torch_compile")


def _packages(function: Any) -> Iterator[str]:
    """The packages that define a class, or a function and those that it wraps; none for functions written in C."""
    layer = function.fget if isinstance(function, property) else function
    if isinstance(layer, type):
        yield layer.__module__.partition(".")[0]
    seen: set[int] = set()
    while isinstance(layer, _OF_PYTHON) and id(layer) not in seen:
        seen.add(id(layer))
        if hasattr(layer, "__globals__"):  # not a `staticmethod` or `classmethod`, which only wrap
            yield layer.__globals__.get("__name__", "").partition(".")[0]
        layer = getattr(layer, "__wrapped__", None)


def _limit(name: str) -> Callable[[], object]:
    return lambda: resource.getrlimit(getattr(resource, name))


def _value(read: Callable[[], object]) -> object:
    """The value of a setting, or the error if it cannot be read (a working directory that is gone)."""
    try:
        return read()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _threads() -> Iterator[str]:
    """Python threads that run code other than that of Python and installed libraries, whose pools sleep when idle."""
    stacks = sys._current_frames()  # noqa: SLF001 - documented, and the only way to see what a thread runs
    for thread in threading.enumerate():
        stack = traceback.walk_stack(stacks.get(thread.ident or 0))
        if thread is not threading.current_thread() and not all(_is_installed(frame) for frame, _ in stack):
            yield thread.name


def _is_installed(frame: types.FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_INSTALLED)


def _is_default_device(mode: Any) -> bool:
    return isinstance(mode, DeviceContext)  # observed by its own name


def _module_hooks() -> Iterator[tuple[str, list[int]]]:
    """Ids of the hooks that run in every module; torch never reuses them."""
    for name, hooks in vars(torch_module).items():
        if name.startswith("_global_") and isinstance(hooks, dict) and hooks:
            yield name.removeprefix("_global_"), list(hooks)


def _timers() -> Iterator[tuple[str, float]]:
    """Intervals of the active timers, 0 for one that fires once. Unit: s."""
    for name, timer in _TIMERS.items():
        remaining, interval = signal.getitimer(timer)
        if remaining or interval:
            yield name, interval


def _children() -> Iterator[str]:
    """Running child processes except those of libraries. proc(5) lists them by the thread that started them."""
    for thread in Path("/proc/self/task").iterdir():
        for pid in map(os.fsdecode, _read(thread / "children").split()):
            name, _, rest = _read(Path("/proc", pid, "stat")).partition(b"(")[2].rpartition(b")")
            command = _read(Path("/proc", pid, "cmdline"))
            is_running = rest.split()[:1] not in ([], [b"Z"], [b"X"])
            if is_running and not any(known in command for known in _CHILDREN_OF_LIBRARIES):
                yield f"{os.fsdecode(name)} (pid {pid})"


def _read(path: Path) -> bytes:
    """The content of a file of proc(5); empty if the thread or process has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
