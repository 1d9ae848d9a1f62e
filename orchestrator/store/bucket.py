"""A folder in a bucket. Every call has a time limit, and a signal ends it at once.

The calls run in helper processes (`bucket_process.py`); a process that does not answer in time is killed.
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

CALL_TIMEOUT_S = 30.0
"""Time limit of a call. Unit: s."""

STOPPING_TIMEOUT_S = 2.5
"""Time limit of a call once this process was asked to stop: Ray kills a job 3 s after it asked. Unit: s."""

_MIN_BYTES_PER_S = 1e6
_MIN_NAMES_PER_S = 10
"""The slowest usable network: larger calls get this much more time."""

_POLL_S = 0.1
"""Interval at which a waiting call checks whether this process was asked to stop. Unit: s."""

_PROGRAM = Path(__file__).with_name("bucket_process.py")

_OPTIONS = {
    "s3": ("allow_delayed_open", "true"),  # one request for a small file instead of the three of a multipart upload
    "gs": ("retry_limit_seconds", "20"),  # report the bucket's own error before the call times out
}
"""URI scheme -> an option of pyarrow's file system that is set unless the URI sets it."""


class Bucket:
    """The folder at `uri`. Thread-safe: concurrent calls run in separate processes.

    Args:
        uri: A URI that pyarrow supports.
        stopping: Whether this process was asked to stop; calls then end within `STOPPING_TIMEOUT_S`.

    Raises:
        OSError: The URI is not supported. Every call raises it too.
    """

    def __init__(self, uri: str, stopping: Callable[[], bool]) -> None:
        self._uri = _tuned(uri)
        self._stopping = stopping
        self._unanswered = False
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        self._idle.put(self._new())

    @contextlib.contextmanager
    def writing(self, *names: str) -> Iterator[list[IO[bytes]]]:
        """Open a file per name; they are uploaded in this order once all are complete."""
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(tempfile.NamedTemporaryFile()) for _ in names]
            yield [file.file for file in files]
            for name, file in zip(names, files, strict=True):
                file.flush()
                self._call("upload", name, file.name, more_s=Path(file.name).stat().st_size / _MIN_BYTES_PER_S)

    def write(self, name: str, data: bytes) -> None:
        """Write `data` to `name`."""
        self._call("write", name, data)

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """The contents of each name; null if it does not exist."""
        contents: list[bytes | None] = self._call("read_all", names, more_s=len(names) / _MIN_NAMES_PER_S)
        return contents

    def entries(self, inside: str) -> dict[str, float]:
        """Files directly in the subfolder, with the bucket's time of their last write. Unit: s since 1970."""
        # More time, as each request returns a thousand names.
        entries: dict[str, float] = self._call("entries", inside, more_s=CALL_TIMEOUT_S)
        return entries

    def move(self, name: str, to: str) -> None:
        """Rename a file within the folder."""
        self._call("move", name, to)

    def delete_all(self, names: Sequence[str]) -> None:
        """Delete the names that exist."""
        self._call("delete_all", names, more_s=len(names) / _MIN_NAMES_PER_S)

    def _call(self, method: str, *arguments: Any, more_s: float = 0.0) -> Any:
        if self._unanswered and self._stopping():  # wait for an answer only once
            raise TimeoutError("an earlier call got no answer")
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = self._new()
        try:
            answer = process.call(method, arguments, CALL_TIMEOUT_S + more_s, self._stopping)
        except TimeoutError:
            self._unanswered = True
            raise
        self._unanswered = False
        self._idle.put(process)
        return _result(answer)

    def _new(self) -> "_Process":
        process = _Process()
        _result(process.call("open", (self._uri,), CALL_TIMEOUT_S, self._stopping))
        return process


class _Process:
    """Makes one call at a time. It is killed if a call gets no answer, and when this object is deleted."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C goes only to the driver, which still has to write
        )
        self._end = weakref.finalize(self, _end, self._process)

    def call(
        self, method: str, arguments: tuple[Any, ...], seconds: float, stopping: Callable[[], bool]
    ) -> tuple[Any, str | None]:
        """The answer: a value, or an error message.

        Raises:
            TimeoutError: No answer in time.
        """
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # the process ended: reading the answer reports it
                _write_all(self._process.stdin, pickle.dumps((method, arguments)))
            return self._answer(_Deadline(seconds, stopping))
        except BaseException:  # including a signal: the state of the call is unknown
            self._end()
            raise

    def _answer(self, deadline: "_Deadline") -> tuple[Any, str | None]:
        length = LENGTH.unpack(self._read(LENGTH.size, deadline))[0]
        answer: tuple[Any, str | None] = pickle.loads(self._read(length, deadline))  # noqa: S301 - our own process
        return answer

    def _read(self, size: int, deadline: "_Deadline") -> bytes:
        assert self._process.stdout is not None
        ready = select.poll()
        ready.register(self._process.stdout, select.POLLIN)
        data = bytearray()
        while len(data) < size:
            deadline.check()
            if ready.poll(_POLL_S * 1000):
                chunk = self._process.stdout.read(min(size - len(data), 2**20))
                if not chunk:
                    self._end()  # it may still run
                    raise OSError(f"the helper process for the bucket ended with exit code {self._process.returncode}")
                data += chunk
        return bytes(data)


class _Deadline:
    """The time limit of one call."""

    def __init__(self, seconds: float, stopping: Callable[[], bool]) -> None:
        self._began, self._seconds, self._stopping = time.monotonic(), seconds, stopping
        self._stopping_since: float | None = None

    def check(self) -> None:
        now = time.monotonic()
        if self._stopping_since is None and self._stopping():
            self._stopping_since = now
        if now - self._began >= self._seconds:
            raise TimeoutError(f"no answer within {self._seconds:g} s")
        if self._stopping_since is not None and now - self._stopping_since >= STOPPING_TIMEOUT_S:
            raise TimeoutError(f"no answer within {STOPPING_TIMEOUT_S:g} s of the request to stop")


def _write_all(pipe: IO[bytes], data: bytes) -> None:
    """Write all of `data`: a signal may interrupt a write to a pipe."""
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
    """The URI with the option of `_OPTIONS`, unless it sets that option itself."""
    option, value = _OPTIONS.get(uri.partition("://")[0], ("", ""))
    if not option or option in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}{option}={value}"
