"""Run work in a fork that ends with its parent, within a time and memory limit."""

import ctypes
import json
import os
import resource
import select
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

MEMORY_BYTES = 8 << 30
"""Memory that a fork may allocate; a meta model takes megabytes. Unit: bytes."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
"""Loaded in the parent, because a fork of a process with threads should load no library."""


class Fork(NamedTuple):
    """A running fork."""

    pid: int
    answers: int
    """File descriptor of the pipe with its answer."""

    def receive(self, *, unless_closed: int | None = None) -> tuple[Any, str | None]:
        """Its answer; or null and why there is none.

        Args:
            unless_closed: a pipe from the caller. When the caller closes it, this process ends with its forks.
        """
        if unless_closed is not None:
            _wait(self.answers, unless_closed)
        with os.fdopen(self.answers, "rb") as pipe:
            answer = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if answer:
            return json.loads(answer), None
        return None, "timed out" if code == -signal.SIGALRM else f"ended with status {code}"


def fork(work: Callable[[], Any], timeout_s: int) -> Fork:
    """Run `work` in a fork, which sends the result as JSON through a pipe."""
    answers, end = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(end)
        return Fork(pid, answers)
    status = 1
    try:
        end_with(parent)
        signal.alarm(timeout_s)
        for other in _open_ends:
            os.close(other)
        _open_ends[:] = [end]
        _bound_memory()
        answer = json.dumps(work()).encode()
        with os.fdopen(end, "wb") as pipe:
            pipe.write(answer)
        status = 0
    finally:
        os._exit(status)


_open_ends: list[int] = []
"""Pipes for this process's answers. Its forks close them, so that they close when this process ends."""


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends for any reason."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before prctl
        os.kill(os.getpid(), signal.SIGKILL)


def _bound_memory() -> None:
    """Limit further allocations of this process to `MEMORY_BYTES`; beyond that they raise a MemoryError."""
    held = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))  # noqa: PTH123, SIM115
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = held + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _wait(answers: int, caller: int) -> None:
    """Wait for an answer; end this process if the caller ends."""
    poll = select.poll()
    poll.register(answers, select.POLLIN)
    poll.register(caller, 0)  # POLLHUP is always reported
    while True:
        ready = dict(poll.poll())
        if ready.get(caller, 0) & (select.POLLHUP | select.POLLERR):
            os._exit(0)
        if answers in ready:
            return
