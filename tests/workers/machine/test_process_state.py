import functools
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.generation import utils as generation
from transformers.models.llama import modeling_llama

from tests.support.cells import LLAMA
from workers.machine.process_state import changes, observe


def test_without_a_change_there_is_no_difference() -> None:
    assert changes(observe(), observe()) == ()


def _limit(soft: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (soft, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _patch(function: Callable[[], float]) -> None:
    time.perf_counter = function


def _attend(flash: bool) -> None:
    torch.backends.cuda.enable_flash_sdp(flash)


CASES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "torch threads: 1 -> 2": (lambda: torch.set_num_threads(2), lambda: torch.set_num_threads(1)),
    "torch default dtype: torch.float32 -> torch.float64": (
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_default_dtype(torch.float32),
    ),
    "torch default device: cpu -> meta": (
        lambda: torch.set_default_device("meta"),
        lambda: torch.set_default_device(None),
    ),
    "torch gradients: True -> False": (lambda: torch.set_grad_enabled(False), lambda: torch.set_grad_enabled(True)),
    "torch deterministic mode: 0 -> 2": (
        lambda: torch.use_deterministic_algorithms(True),
        lambda: torch.use_deterministic_algorithms(False),
    ),
    "torch denormal numbers: kept -> flushed": (
        lambda: torch.set_flush_denormal(True),
        lambda: torch.set_flush_denormal(False),
    ),
    "mkldnn matmul precision: none -> bf16": (
        lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
        lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "none"),
    ),
    "flash attention: True -> False": (lambda: _attend(False), lambda: _attend(True)),
    f"garbage collection: {(True, gc.get_threshold())} -> {(False, gc.get_threshold())}": (gc.disable, gc.enable),
    "environment variable JG_TEST": (lambda: os.environ.update(JG_TEST="secret"), lambda: os.environ.pop("JG_TEST")),
    "time.perf_counter replaced": (lambda: _patch(lambda: 0.0), lambda clock=time.perf_counter: _patch(clock)),
}


@pytest.mark.parametrize("description", CASES)
def test_a_changed_setting_is_named(description: str) -> None:
    torch.set_num_threads(1)
    change, back = CASES[description]
    before = observe()
    change()
    try:
        after = observe()
    finally:
        back()
    assert changes(before, after) == (description,)
    assert changes(before, observe()) == ()


class Counting(TorchDispatchMode):
    """While entered, it sees every operator."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Watching(TorchFunctionMode):
    """While entered, it sees every function of torch."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def _hook() -> Callable[[], object]:
    return torch.nn.modules.module.register_module_forward_hook(lambda *_: None).remove


def _mode(mode: Any) -> Callable[[], object]:
    mode.__enter__()
    return lambda: mode.__exit__(None, None, None)


def _timer() -> Callable[[], object]:
    signal.setitimer(signal.ITIMER_PROF, 1000, 500)
    return lambda: signal.setitimer(signal.ITIMER_PROF, 0)


def _callback() -> Callable[[], object]:
    gc.callbacks.append(lambda *_: None)
    return gc.callbacks.pop


LEFT: dict[str, Callable[[], Callable[[], object]]] = {
    "hooks of all modules: 'forward_hooks': [": _hook,
    "torch dispatch modes: ['Counting']": lambda: _mode(Counting()),
    "torch function modes: ['Watching']": lambda: _mode(Watching()),
    "torch profiler: True": lambda: _mode(torch.autograd.profiler.profile()),
    "timers: 'PROF': 500.0": _timer,
    "garbage collection callbacks: <lambda>": _callback,
}
"""The description, with part of the state after -> a function that causes the change and returns its reversal."""


@pytest.mark.parametrize("description", LEFT)
def test_what_stays_active_after_a_run_is_named(description: str) -> None:
    before = observe()
    end = LEFT[description]()
    try:
        after = observe()
    finally:
        end()
    (differences,) = changes(before, after)
    name, _, state = description.partition(": ")
    was, _, now = differences.partition(" -> ")
    assert was.startswith(f"{name}: ")
    assert state in now
    assert state not in was
    assert changes(before, observe()) == ()


def test_a_child_process_left_running_is_named_and_an_earlier_one_may_end() -> None:
    before = observe()
    with subprocess.Popen(["sleep", "600"]) as child:
        there = observe()
        child.kill()
    assert changes(before, there) == (f"child process sleep (pid {child.pid}) left running",)
    assert changes(there, observe()) == ()


def test_a_child_process_that_has_ended_or_belongs_to_a_library_is_no_change() -> None:
    before = observe()
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # ended, but its parent has not waited for it
        assert changes(before, observe()) == ()
    library_child = [sys.executable, "-c", "input()", "workers.energy.sampler"]
    with subprocess.Popen(library_child, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL):
        assert changes(before, observe()) == ()


LINEAR = "torch.nn.modules.linear.Linear.forward"
REPLACED: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "of a layer": (torch.nn.Linear, LINEAR, lambda _: lambda *_: None),
    "by its wrapper": (torch.nn.Linear, LINEAR, lambda was: functools.wraps(was)(lambda *_: None)),
    "by its wrapper, in torch's": (torch.nn.Linear, LINEAR, lambda _: torch.no_grad()(lambda *_: None)),
    "by a compiled one": (torch.nn.Linear, LINEAR, torch.compile),
    "a layer": (torch.nn, "torch.nn.Linear", lambda was: type("Linear", (was,), {})),
    "of generating": (
        generation.GenerationMixin,
        "transformers.generation.utils.GenerationMixin._sample",
        lambda _: lambda *_: None,
    ),
    "of loading": (
        modeling_llama.LlamaPreTrainedModel.__mro__[1],
        "transformers.modeling_utils.PreTrainedModel.from_pretrained",
        lambda _: classmethod(lambda *_: None),
    ),
    "of a model": (
        modeling_llama,
        "transformers.models.llama.modeling_llama.apply_rotary_pos_emb",
        lambda _: lambda *_: None,
    ),
    "a model's layer": (
        modeling_llama,
        "transformers.models.llama.modeling_llama.LlamaRMSNorm",
        lambda was: type("Fused", (was,), {}),
    ),
}


@pytest.mark.parametrize("which", REPLACED)
def test_a_replaced_function_is_named(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    holder, place, replacement = REPLACED[which]
    name = place.rpartition(".")[2]
    before = observe()
    with monkeypatch.context() as patched:
        patched.setattr(holder, name, replacement(getattr(holder, name)))
        assert changes(before, observe()) == (f"{place} replaced",)
    assert changes(before, observe()) == ()


def test_a_function_that_torch_itself_replaces_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    before = observe()
    monkeypatch.setattr(torch, "manual_seed", torch._disable_dynamo(torch.manual_seed))
    assert changes(before, observe()) == ()


def test_an_imported_module_is_no_change_but_a_models_own_code_in_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = observe()
    module = types.ModuleType("transformers.models.new.modeling_new")
    vars(module).update(attend=modeling_llama.eager_attention_forward, Norm=modeling_llama.LlamaRMSNorm)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert changes(before, observe()) == ()
    own = types.FunctionType((lambda: None).__code__, {"__name__": "transformers_modules.own.modeling_own"})
    vars(module)["attend"] = own
    monkeypatch.setattr(modeling_llama.LlamaForCausalLM, "generate", own)
    assert sorted(changes(before, observe())) == [
        "transformers.models.llama.modeling_llama.LlamaForCausalLM.generate replaced",
        "transformers.models.new.modeling_new.attend replaced",
    ]


def test_a_changed_working_directory_or_limit_and_a_new_thread_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, soft, end = observe(), resource.getrlimit(resource.RLIMIT_CORE)[0], threading.Event()
    running = threading.Event()

    def work() -> None:
        running.set()
        end.wait()

    pool, thread = threading.Thread(target=end.wait), threading.Thread(target=work, name="of a model")
    pool.start()
    thread.start()
    running.wait()
    monkeypatch.chdir(tmp_path)
    _limit(0 if soft else 1)
    differences = changes(before, observe())
    _limit(soft)
    end.set()
    pool.join()
    thread.join()
    assert [what.partition(":")[0] for what in differences] == ["working directory", "threads", "CORE limit"]
    assert differences[0].endswith(f"-> {tmp_path}")
    assert differences[1].endswith("['of a model']")


def test_a_thread_of_a_library_outside_the_environment_is_no_change(tmp_path: Path) -> None:
    library = tmp_path / "site-packages"  # the user's, or the system's in a virtual environment
    library.mkdir()
    (library / "with_a_pool.py").write_text(
        "import threading\n"
        "running, end = threading.Event(), threading.Event()\n"
        "def work():\n"
        "    running.set()\n"
        "    end.wait()\n"
        "def start():\n"
        "    threading.Thread(target=work, daemon=True).start()\n"
        "    running.wait()\n"
    )
    code = (
        "import with_a_pool\nfrom workers.machine.process_state import changes, observe\n"
        "before = observe()\nwith_a_pool.start()\nprint(changes(before, observe()))\n"
    )
    paths = os.pathsep.join([*sys.path, str(library)])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "()"


def test_a_deleted_working_directory_is_a_change_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    before = observe()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    (change,) = changes(before, observe())
    assert "FileNotFoundError" in change


LEAKY = """
import os, time, torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama  # imported first by this

turn = modeling_llama.apply_rotary_pos_emb
modeling_llama.apply_rotary_pos_emb = lambda *states: turn(*states)

class LeakyConfig(LlamaConfig):
    model_type = "leaky"

kept = []

class Leaky(LlamaForCausalLM):
    config_class = LeakyConfig

    def __init__(self, config):
        super().__init__(config)
        torch.set_num_threads(7)
        os.environ["LEAKY"] = "1"
        os.chdir("/")

    def forward(self, *inputs, **named):
        if not kept:
            kept.append(torch.ones(200_000_000))
            torch.set_float32_matmul_precision("medium")
            clock = time.perf_counter
            time.perf_counter = lambda: 2 * clock()
        return super().forward(*inputs, **named)
"""

MEASURE = """
import sys
from tests.support.cells import cell
from workers.measure import Measurer
from workers.records import ModelSpec, Run

model = ModelSpec(name="leaky", source=sys.argv[1], trust_remote_code=True)
what = Run(cell=cell().model_copy(update={"model": model}), repeat=0)
measurer = Measurer(cpu_threads=1)
measurer.measure(what, texts={}, prior_runs=0)
measurer.release()
print(*measurer.changes(), sep="\\n")
"""


@pytest.mark.slow
def test_what_a_models_own_code_leaves_behind_is_named(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    LlamaForCausalLM(LlamaConfig(**LLAMA)).save_pretrained(tmp_path / "leaky")
    config = tmp_path / "leaky" / "config.json"
    own = {"model_type": "leaky", "auto_map": {"AutoConfig": "own.LeakyConfig", "AutoModelForCausalLM": "own.Leaky"}}
    config.write_text(json.dumps(json.loads(config.read_text()) | own))
    (tmp_path / "leaky" / "own.py").write_text(LEAKY)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "leaky")],
        env=os.environ | {"PYTHONPATH": paths, "HF_MODULES_CACHE": str(tmp_path / "modules")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *descriptions, memory = done.stdout.splitlines()
    assert descriptions == [
        "torch threads: 1 -> 7",
        "mkldnn matmul precision: none -> bf16",
        f"working directory: {Path.cwd()} -> /",
        "environment variable LEAKY",
        "time.perf_counter replaced",
        "transformers.models.llama.modeling_llama.apply_rotary_pos_emb replaced",
    ]
    assert memory.startswith("host memory: 8")
