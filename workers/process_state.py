"""What code may change in its process that every later run would feel, observed before the first run and after each.

A model's own code (`trust_remote_code`) runs in the process that measures. What it leaves changed there, such as the
number of torch's threads, would show in the figures of all later cells, so such a process is not used again.

TF32's flags for CUDA are not among it: each load of a model sets them.
"""

import gc
import os
import resource
import sys
import sysconfig
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

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
    "working directory": os.getcwd,
    "CPU affinity": lambda: sorted(os.sched_getaffinity(0)),
    "priority": lambda: os.getpriority(os.PRIO_PROCESS, 0),
    "garbage collection": lambda: (gc.isenabled(), gc.get_threshold()),
    "switch interval": sys.getswitchinterval,
    "trace and profile functions": lambda: (sys.gettrace(), sys.getprofile()),
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
"""Variables that torch, Triton and transformers set themselves: with the first use of CUDA, or when they compile."""
_INSTALLED = (
    sysconfig.get_path("stdlib"),
    *(folder for folder in sys.path if folder.endswith(("site-packages", "dist-packages"))),
    "<frozen ",
)
"""Folders of Python and of installed libraries: this environment's, and a user's or the system's beside it."""
_LIMITS = tuple(name for name in dir(resource) if name.startswith("RLIMIT_"))
_PATCHABLE = {
    "time": time,
    "torch": torch,
    "torch.nn.functional": torch.nn.functional,
    "torch.Tensor": torch.Tensor,
    "torch.nn.Module": torch.nn.Module,
}
"""Where a function may be replaced for all that run later: the clocks, and what every model is made of."""


@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """A process's state at one moment."""

    settings: Mapping[str, object]
    environment: Mapping[str, str]
    functions: Mapping[str, Any]


def observe() -> ProcessState:
    """Look at this process."""
    limits = {f"{name.removeprefix('RLIMIT_')} limit": _limit(name) for name in _LIMITS}
    return ProcessState(
        settings={name: _value(look) for name, look in (_SETTINGS | limits).items()},
        environment=dict(os.environ),
        functions={
            f"{place}.{name}": value
            for place, holder in _PATCHABLE.items()
            for name, value in vars(holder).items()
            if callable(value) and not isinstance(value, type)
        },
    )


def changes(before: ProcessState, after: ProcessState) -> tuple[str, ...]:
    """What differs, in words. Values of environment variables are left out: they may be secrets."""
    return (*_changed_settings(before, after), *_changed_environment(before, after), *_replaced(before, after))


def _changed_settings(before: ProcessState, after: ProcessState) -> Iterator[str]:
    for name, was in before.settings.items():
        now = after.settings[name]
        if now != was:
            yield f"{name}: {was} -> {now}"


def _changed_environment(before: ProcessState, after: ProcessState) -> Iterator[str]:
    for name in sorted((before.environment.keys() | after.environment.keys()) - _SET_BY_LIBRARIES):
        if before.environment.get(name) != after.environment.get(name):
            yield f"environment variable {name}"


def _replaced(before: ProcessState, after: ProcessState) -> Iterator[str]:
    for name, function in before.functions.items():
        now = after.functions.get(name)
        if now is not function and not _is_torchs_own(now):
            yield f"{name} replaced"


def _is_torchs_own(function: Any) -> bool:
    """Whether torch has put it there: its compiler wraps a few functions once it is imported."""
    code = getattr(function, "__code__", None)
    return code is not None and Path(code.co_filename).is_relative_to(Path(torch.__file__).parent)


def _limit(name: str) -> Callable[[], object]:
    return lambda: resource.getrlimit(getattr(resource, name))


def _value(look: Callable[[], object]) -> object:
    """What is there to see; what cannot be looked at (a folder that is gone) is a state too."""
    try:
        return look()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _threads() -> Iterator[str]:
    """Python's threads that run other code than Python's own and installed libraries', whose pools sleep when idle."""
    stacks = sys._current_frames()  # noqa: SLF001 - documented, and the only way to see what a thread runs
    for thread in threading.enumerate():
        stack = traceback.walk_stack(stacks.get(thread.ident or 0))
        if thread is not threading.current_thread() and not all(_is_installed(frame) for frame, _ in stack):
            yield thread.name


def _is_installed(frame: types.FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_INSTALLED)
