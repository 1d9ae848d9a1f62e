"""Commands whose stdout is closed, full, or read by nobody."""

import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BufferedWriter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.stdio import _TolerantFile

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "orchestrator"]
LONG = ["plan", str(ROOT / "examples" / "gpu-grid.yaml"), "--json"]


def run(*words: str | bytes, environment: Mapping[str, str] = {}, **streams: Any) -> tuple[int, str]:
    """The exit code, and stderr."""
    streams = {"stdout": subprocess.PIPE} | streams
    done = subprocess.run(
        [*PROGRAM, *words], stderr=subprocess.PIPE, check=False, cwd=ROOT, env=os.environ | environment, **streams
    )
    return done.returncode, done.stderr.decode()


SLOW = pytest.mark.slow  # a process each; one of each sort is enough by default


@pytest.mark.parametrize("environment", [{}, pytest.param({"PYTHONUNBUFFERED": "1"}, marks=SLOW)], ids=str)
def test_a_reader_that_exits_is_not_an_error(environment: Mapping[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert run(*LONG, stdout=writing, environment=environment) == (0, "")
    os.close(writing)


@pytest.mark.parametrize(
    "words", [LONG, *(pytest.param(words, marks=SLOW) for words in (["--help"], ["plan", "--help"]))], ids=str
)
def test_a_full_disk_is_one_line_and_exit_3_for_a_command_that_only_prints(words: list[str]) -> None:
    with Path("/dev/full").open("w") as device:
        assert run(*words, stdout=device) == (
            0 if words == ["--help"] else 3,
            "cannot write to stdout: No space left on device\n",
        )


@pytest.mark.slow
def test_a_full_disk_under_both_streams_is_the_same_exit_code() -> None:
    with Path("/dev/full").open("w") as device:
        done = subprocess.run([*PROGRAM, *LONG], stdout=device, stderr=device, check=False, cwd=ROOT)
    assert done.returncode == 3


@pytest.mark.slow
def test_an_error_keeps_its_exit_code_if_stdout_cannot_be_written() -> None:
    with Path("/dev/full").open("w") as device:
        assert run("plan", "nosuch.yaml", stdout=device)[0] == 2


@pytest.mark.parametrize("closed", [pytest.param(0, marks=SLOW), 1, pytest.param(2, marks=SLOW)])
def test_a_closed_stream_is_not_an_error(closed: int) -> None:
    assert run("schema", preexec_fn=lambda: os.close(closed))[0] == 0


def test_a_full_nonblocking_pipe_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    text = b"x" * 2**20  # 16 times the capacity of a pipe
    with os.fdopen(reading, "rb") as reader, ThreadPoolExecutor(1) as pool:
        read = pool.submit(reader.read)
        with os.fdopen(writing, "wb") as writer, BufferedWriter(_TolerantFile(writer.fileno(), [])) as buffered:
            buffered.write(text)
        assert read.result() == text


def test_a_file_name_that_cannot_be_encoded_is_escaped(tmp_path: Path) -> None:
    file = os.fsencode(tmp_path) + b"/caf\xe9.yaml"
    code, stderr = run(b"plan", file + b"s")
    assert code == 2
    assert r"caf\udce9.yamls: cannot be read: No such file or directory" in stderr
