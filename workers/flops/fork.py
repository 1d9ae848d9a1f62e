"""Work in a process of its own, that ends with its parent, in bounded time and memory."""

import ctypes
import json
import os
import resource
import select
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

MEMORY_BYTES = 8 << 30
"""What one fork may hold beside what it was forked with: a model on the meta device takes megabytes."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
"""Opened once, in the parent: a fork of a process with threads should open nothing."""


class Fork(NamedTuple):
    """A process that is at work on one thing."""

    pid: int
    answers: int
    """The pipe that its answer comes through."""

    def receive(self, *, unless_closed: int | None = None) -> tuple[Any, str | None]:
        """What it came to; or null and why it ended without an answer.

        Args:
            unless_closed: a pipe from whoever wants the answer: when its other end closes, nobody does any more, and
                this process ends with its forks.
        """
        if unless_closed is not None:
            _wait(self.answers, unless_closed)
        with os.fdopen(self.answers, "rb") as pipe:
            said = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if said:
            return json.loads(said), None
        return None, "had not finished in time" if code == -signal.SIGALRM else f"ended with status {code}"


def fork(work: Callable[[], Any], timeout_s: int) -> Fork:
    """Do `work` in a process of its own, and send what it returns, as JSON, through a pipe."""
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
"""Pipes that this process will answer through. Its own forks must not hold them open when it has died."""


def end_with(parent: int) -> None:
    """Let this process be killed when its parent ends, however that ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was told
        os.kill(os.getpid(), signal.SIGKILL)


def _bound_memory() -> None:
    """Refuse this process, with a MemoryError, more than `MEMORY_BYTES` beside what it holds."""
    held = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))  # noqa: PTH123, SIM115 - one read
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = held + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _wait(answers: int, asker: int) -> None:
    """Wait until there is an answer, or nobody to give it to."""
    poll = select.poll()
    poll.register(answers, select.POLLIN)
    poll.register(asker, 0)  # POLLHUP is told anyway
    while True:
        ready = dict(poll.poll())
        if ready.get(asker, 0) & (select.POLLHUP | select.POLLERR):
            os._exit(0)
        if answers in ready:
            return
