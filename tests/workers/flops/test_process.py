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
from workers.flops import EstimatorProcess
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


def test_leaving_ends_its_forks_too():
    def ask():
        with pytest.raises(EstimateError):
            made.estimate(spec(n_layer=40), [SHAPE.model_copy(update={"output_tokens": 900})])

    with EstimatorProcess() as made:
        asking = threading.Thread(target=ask)
        asking.start()
        while not (forks := children(made.pid)):
            time.sleep(0.01)
    asking.join(timeout=240)
    while any("\nState:\tZ" not in status.read_text() for fork in forks if (status := status_of(fork)).exists()):
        time.sleep(0.01)
