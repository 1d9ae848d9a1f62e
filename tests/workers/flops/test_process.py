"""The process that estimates: it outlives what a request does to it, and says so when it does not."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from workers.errors import EstimateError, ModelLoadError
from workers.flops import EstimatorProcess, fork
from workers.records import ModelSpec, Shape

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


def test_neither_importing_nor_asking_loads_torch():
    script = f"""
import sys
from workers.flops import Shape, estimate
from workers.records import ModelSpec
(cost,) = estimate(ModelSpec(name="m", config={SMALL}), [Shape(batch_size=1, input_tokens=4, output_tokens=2)])
sys.exit(cost.flops.confidence != "high" or "torch" in sys.modules or "transformers" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.slow
def test_a_config_that_cannot_be_read_is_an_error_with_the_place_and_the_next_request_is_answered(process):
    with pytest.raises(ModelLoadError, match="does not fit") as raised:
        process.estimate(spec(n_embd="wide"), [SHAPE])
    assert "workers/flops/config.py" in raised.value.__notes__[0]
    assert process.estimate(spec(), [SHAPE])[0].flops.confidence == "high"


def test_a_fork_that_is_killed_fails_its_request_and_no_other(process):
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


def test_a_process_that_ended_is_one_clear_error():
    made = EstimatorProcess()
    made.end()
    assert not made.lives
    with pytest.raises(EstimateError, match="the process that counts FLOPs ended with status -9"):
        made.estimate(spec(), [SHAPE])


def have_ended(pids):
    """Wait until all of them are gone or zombies; the test's own time-out bounds it."""
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
"""A scan over so many tokens in so many layers takes longer than any test may."""


def test_leaving_ends_its_forks_too():
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


def test_whoever_asks_takes_the_process_and_all_its_forks_along_when_it_is_killed():
    script = f"""
from workers.flops import EstimatorProcess, Shape
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


def test_a_fork_takes_its_own_along_when_it_is_killed(process):
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


def test_a_count_that_wants_too_much_memory_is_an_error_not_a_machine_without(monkeypatch):
    monkeypatch.setattr(fork, "MEMORY_BYTES", 64 << 20)
    assert fork.fork(lambda: len(bytearray(16 << 20)), 60).receive() == (16 << 20, None)
    assert fork.fork(lambda: len(bytearray(256 << 20)), 60).receive() == (None, "ended with status 1")
