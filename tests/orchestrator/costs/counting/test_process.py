"""The process that counts FLOPs: it survives failing requests, and its end is a clear error."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.costs.counting import fork
from orchestrator.costs.counting.process import EstimatorProcess
from workers.records import ModelSpec, Shape
from workers.records.errors import EstimateError, ModelLoadError

SMALL = {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 99}
SHAPE = Shape(batch_size=1, input_tokens=4, output_tokens=2)


def spec(**fields):
    return ModelSpec(name="m", config={**SMALL, **fields})


def children(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def status_of(pid):
    return Path("/proc", str(pid), "status")


@pytest.fixture(scope="module")
def process():
    with EstimatorProcess() as made:
        yield made


def test_neither_the_import_nor_a_request_loads_torch():
    script = f"""
import sys
from orchestrator.costs.counting.process import estimate
from workers.records import Shape
from workers.records import ModelSpec
(cost,) = estimate(ModelSpec(name="m", config={SMALL}), [Shape(batch_size=1, input_tokens=4, output_tokens=2)])
sys.exit(cost.flops.confidence != "high" or "torch" in sys.modules or "transformers" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.slow
def test_an_invalid_config_is_an_error_with_a_traceback_and_the_next_request_succeeds(process):
    with pytest.raises(ModelLoadError, match="its config is invalid") as raised:
        process.estimate(spec(n_embd="wide"), [SHAPE])
    assert "orchestrator/costs/counting/model_config.py" in raised.value.__notes__[0]
    assert process.estimate(spec(), [SHAPE])[0].flops.confidence == "high"


def test_a_killed_fork_fails_only_its_own_request(process):
    slow = [Shape(batch_size=1, input_tokens=tokens, output_tokens=50) for tokens in range(4, 600)]
    failed: list[EstimateError] = []

    def ask():
        try:
            process.estimate(spec(n_layer=40), slow)
        except EstimateError as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    while not (forks := children(process.pid)):
        time.sleep(0.01)
    os.kill(forks[0], signal.SIGKILL)
    asking.join(timeout=240)
    assert [str(error) for error in failed] == ["counting FLOPs ended with status -9"]
    assert process.estimate(spec(), [SHAPE])[0].flops.confidence == "high"


def test_a_request_to_an_ended_process_is_a_clear_error():
    made = EstimatorProcess()
    made.end()
    assert not made.lives
    with pytest.raises(EstimateError, match="the process that counts FLOPs ended with status -9"):
        made.estimate(spec(), [SHAPE])


def have_ended(pids):
    """Wait until all of them are gone or zombies; the time-out of the test limits the wait."""
    while any("\nState:\tZ" not in _read(status_of(pid)) for pid in pids if status_of(pid).exists()):
        time.sleep(0.01)
    return True


def _read(status):
    try:
        return status.read_text()
    except OSError:
        return "\nState:\tZ"


ENDLESS = ModelSpec(
    name="m", config={"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 64, "vocab_size": 99}
)
LONG = Shape(batch_size=1, input_tokens=20_000, output_tokens=2)
"""A scan over this many tokens and layers takes longer than the time-out of a test."""


def test_leaving_the_context_ends_the_forks():
    def ask():
        with pytest.raises(EstimateError):
            made.estimate(ENDLESS, [LONG])

    with EstimatorProcess() as made:
        asking = threading.Thread(target=ask)
        asking.start()
        while not (forks := children(made.pid)):
            time.sleep(0.01)
    asking.join(timeout=240)
    assert have_ended(forks)


def test_the_process_and_its_forks_end_when_the_caller_is_killed():
    script = f"""
from orchestrator.costs.counting.process import EstimatorProcess
from workers.records import Shape
from workers.records import ModelSpec
process = EstimatorProcess()
print(process.pid, flush=True)
process.estimate(ModelSpec.model_validate({ENDLESS.model_dump()}), [Shape.model_validate({LONG.model_dump()})])
"""
    asking = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    counting = int(asking.stdout.readline())
    while not (forks := children(counting)) or not (theirs := [pid for fork in forks for pid in children(fork)]):
        time.sleep(0.01)
    asking.kill()
    asking.wait()
    assert have_ended([counting, *forks, *theirs])


def test_the_forks_of_a_killed_fork_end(process):
    def ask():
        with pytest.raises(EstimateError, match="status -9"):
            process.estimate(ENDLESS, [LONG])

    asking = threading.Thread(target=ask)
    asking.start()
    while not (forks := children(process.pid)) or not (theirs := children(forks[0])):
        time.sleep(0.01)
    os.kill(forks[0], signal.SIGKILL)
    asking.join(timeout=240)
    assert have_ended(theirs)


def test_a_fork_over_its_memory_limit_fails(monkeypatch):
    monkeypatch.setattr(fork, "MEMORY_BYTES", 64 << 20)
    assert fork.fork(lambda: len(bytearray(16 << 20)), 60).receive() == (16 << 20, None)
    assert fork.fork(lambda: len(bytearray(256 << 20)), 60).receive() == (None, "ended with status 1")
