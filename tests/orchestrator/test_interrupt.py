"""Real signals to this process, and to one that hangs."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from orchestrator.interrupt import Interrupted, Interruptible

HANGS = """
import os, signal, time
from orchestrator.interrupt import Interruptible
with Interruptible() as signals, signals.held():
    os.kill(os.getpid(), signal.SIGINT)
    print("still here", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_raised_with_the_exit_code_that_a_shell_expects(signum: int, code: int) -> None:
    with pytest.raises(Interrupted) as caught, Interruptible():
        os.kill(os.getpid(), signum)
    assert caught.value.exit_code == code


def test_a_held_block_finishes_first_and_can_see_the_signal() -> None:
    received = []

    def write() -> None:
        with Interruptible() as signals, signals.held():
            received.append(signals.received)
            os.kill(os.getpid(), signal.SIGINT)
            received.append(signals.received)

    with pytest.raises(Interrupted):
        write()
    assert received == [None, signal.SIGINT]


def test_a_signal_does_not_hide_an_error_of_a_held_block() -> None:
    def write() -> None:
        with Interruptible() as signals, signals.held():
            os.kill(os.getpid(), signal.SIGINT)
            raise KeyError("disk full")

    with pytest.raises(KeyError):
        write()


def test_the_previous_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted), Interruptible():
        os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_install_replaces_handlers_that_other_code_installed() -> None:
    def connect() -> None:
        with Interruptible() as signals:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))  # as `ray.init` does
            signals.install()
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        connect()


def test_a_second_signal_ends_a_process_that_hangs() -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "still here\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=240) == -signal.SIGINT


def test_outside_the_main_thread_it_does_nothing() -> None:
    ended = []

    def sweep() -> None:
        with Interruptible() as signals, signals.held():
            ended.append(signals.received)

    thread = threading.Thread(target=sweep)
    thread.start()
    thread.join()
    assert ended == [None]
