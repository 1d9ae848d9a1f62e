"""A folder in a bucket: every call has an end, whatever the network does, and ends at once for a signal.

The calls are made in processes of their own (`bucket_process.py`); one that does not answer in time is killed.
"""

import contextlib
import pickle
import select
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

from orchestrator.store.bucket_process import LENGTH

CALL_S = 30.0
"""A bucket that has not answered for this long is not answering."""

HURRIED_S = 2.5
"""The same once somebody has asked this process to stop: Ray kills a job that has not ended 3 s after that."""

_SLOWEST_BYTES_PER_S = 1e6
_NAMES_PER_S = 10
"""How long larger calls may take beyond that: a network slower than this is of no use."""

_WAKES_S = 0.1
"""How often a waiting call sees whether it should hurry."""

_PROGRAM = Path(__file__).with_name("bucket_process.py")

_OPTIONS = {
    "s3": ("allow_delayed_open", "true"),  # one request for a journal's two kilobytes, not the three of a multipart one
    "gs": ("retry_limit_seconds", "20"),  # a refusal is told in its own words, before the call is ended
}
"""Scheme -> an option of pyarrow's file system that is set unless the URI sets it."""


class Bucket:
    """The folder at `uri`. Thread-safe: calls at the same time are made by several processes.

    Args:
        uri: As pyarrow knows it.
        hurried: Whether somebody has asked this process to stop; calls then end within `HURRIED_S`.

    Raises:
        OSError: There is no such kind of place; any call raises it, too.
    """

    def __init__(self, uri: str, hurried: Callable[[], bool]) -> None:
        self._uri = _tuned(uri)
        self._hurried = hurried
        self._gave_up = False
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        self._idle.put(self._new())

    @contextlib.contextmanager
    def writing(self, *names: str) -> Iterator[list[IO[bytes]]]:
        """A file for each name; they are uploaded, in this order, once all of them are whole."""
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(tempfile.NamedTemporaryFile()) for _ in names]
            yield [file.file for file in files]
            for name, file in zip(names, files, strict=True):
                file.flush()
                self._call("upload", name, file.name, more_s=Path(file.name).stat().st_size / _SLOWEST_BYTES_PER_S)

    def write(self, name: str, data: bytes) -> None:
        """Put `data` under `name`."""
        self._call("write", name, data)

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """What stands under each name; null where there is no such name."""
        found: list[bytes | None] = self._call("read_all", names, more_s=len(names) / _NAMES_PER_S)
        return found

    def entries(self, inside: str) -> dict[str, float]:
        """Files directly in the subfolder, and when the bucket's own clock says each was written. Unit: s."""
        found: dict[str, float] = self._call("entries", inside, more_s=CALL_S)  # a thousand names a request
        return found

    def move(self, name: str, to: str) -> None:
        """Rename within the folder."""
        self._call("move", name, to)

    def delete_all(self, names: Sequence[str]) -> None:
        """Remove the names; nothing happens where one is none."""
        self._call("delete_all", names, more_s=len(names) / _NAMES_PER_S)

    def _call(self, what: str, *arguments: Any, more_s: float = 0.0) -> Any:
        if self._gave_up and self._hurried():  # whoever waits for the end waits once
            raise TimeoutError("it has not answered before")
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = self._new()
        try:
            answer = process.ask(what, arguments, CALL_S + more_s, self._hurried)
        except TimeoutError:
            self._gave_up = True
            raise
        self._gave_up = False
        self._idle.put(process)
        return _result(answer)

    def _new(self) -> "_Process":
        process = _Process()
        _result(process.ask("open", (self._uri,), CALL_S, self._hurried))
        return process


class _Process:
    """One process that makes one call at a time. It is ended where a call is not answered, and when it is dropped."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the driver, which still has to write
        )
        self._end = weakref.finalize(self, _end, self._process)

    def ask(
        self, what: str, arguments: tuple[Any, ...], seconds: float, hurried: Callable[[], bool]
    ) -> tuple[Any, str | None]:
        """The answer: a value, or an error's words.

        Raises:
            TimeoutError: There was none in time.
        """
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended: there will be no answer
                _write_all(self._process.stdin, pickle.dumps((what, arguments)))
            return self._answer(_Bound(seconds, hurried))
        except BaseException:  # a signal, too: what the call still does is not known
            self._end()
            raise

    def _answer(self, bound: "_Bound") -> tuple[Any, str | None]:
        length = LENGTH.unpack(self._read(LENGTH.size, bound))[0]
        answer: tuple[Any, str | None] = pickle.loads(self._read(length, bound))  # noqa: S301 - our own process
        return answer

    def _read(self, size: int, bound: "_Bound") -> bytes:
        assert self._process.stdout is not None
        ready = select.poll()
        ready.register(self._process.stdout, select.POLLIN)
        data = bytearray()
        while len(data) < size:
            bound.check()
            if ready.poll(_WAKES_S * 1000):
                some = self._process.stdout.read(min(size - len(data), 2**20))
                if not some:
                    self._end()  # it may live on without an answer
                    raise OSError(f"the process that talks to the bucket ended with {self._process.returncode}")
                data += some
        return bytes(data)


class _Bound:
    """How long an answer is waited for."""

    def __init__(self, seconds: float, hurried: Callable[[], bool]) -> None:
        self._began, self._seconds, self._hurried = time.monotonic(), seconds, hurried
        self._hurried_at: float | None = None

    def check(self) -> None:
        now = time.monotonic()
        if self._hurried_at is None and self._hurried():
            self._hurried_at = now
        if now - self._began >= self._seconds:
            raise TimeoutError(f"no answer within {self._seconds:g} s")
        if self._hurried_at is not None and now - self._hurried_at >= HURRIED_S:
            raise TimeoutError(f"no answer within {HURRIED_S:g} s of being asked to stop")


def _write_all(pipe: IO[bytes], data: bytes) -> None:
    """Write to the end: a signal may cut a write to a pipe short."""
    left = memoryview(data)
    while left:
        left = left[pipe.write(left) :]


def _result(answer: tuple[Any, str | None]) -> Any:
    value, error = answer
    if error is not None:
        raise OSError(error)
    return value


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _tuned(uri: str) -> str:
    """The URI with what pyarrow's defaults lack here; what it says itself stands."""
    option, value = _OPTIONS.get(uri.partition("://")[0], ("", ""))
    if not option or option in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}{option}={value}"
