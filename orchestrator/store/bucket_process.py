"""The program that calls a bucket. `bucket.py` starts it, talks to it over pipes, and kills it if it hangs.

A process cannot end its own call that hangs: Arrow's time limits do not apply to a server that sends a byte now and
then, and signals do not interrupt its calls. The program is run by its path, so that it imports nothing but Arrow.
"""

import contextlib
import os
import pickle
import shutil
import signal
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import pyarrow.fs as pafs

LENGTH = struct.Struct("!Q")
"""The header of each answer: its length in bytes."""

_PARALLEL = 16
"""Parallel requests: each takes a round trip."""


class Calls:
    """The calls. Names are relative to the URI's folder."""

    def open(self, uri: str) -> None:
        """Open the folder; the only request may be for the bucket's region."""
        self._fs, self._root = pafs.FileSystem.from_uri(uri)

    def write(self, name: str, data: bytes) -> None:
        """Write `data` to `name`."""
        with self._fs.open_output_stream(self._path(name)) as stream:
            stream.write(data)

    def upload(self, name: str, path: str) -> None:
        """Upload the file at `path` to `name`."""
        with open(path, "rb") as file, self._fs.open_output_stream(self._path(name)) as stream:  # noqa: PTH123 - plain
            shutil.copyfileobj(file, stream, 2**20)

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """The contents of each name; null if it does not exist."""
        with ThreadPoolExecutor(_PARALLEL) as pool:
            return list(pool.map(self._read, names))

    def entries(self, inside: str) -> dict[str, float]:
        """Files directly in the subfolder, with the bucket's time of their last write. Unit: s since 1970."""
        infos = self._fs.get_file_info(pafs.FileSelector(self._path(inside), allow_not_found=True))
        return {info.base_name: info.mtime_ns / 1e9 for info in infos if info.type == pafs.FileType.File}

    def move(self, name: str, to: str) -> None:
        """Rename a file."""
        self._fs.move(self._path(name), self._path(to))

    def delete_all(self, names: Sequence[str]) -> None:
        """Delete the names that exist."""
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(self._delete, names))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _read(self, name: str) -> bytes | None:
        try:
            with self._fs.open_input_stream(self._path(name), compression=None) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def _delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(self._path(name))


def main() -> None:
    """Answer the calls from stdin in order, until it closes because the caller ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides when this ends
    calls: SimpleQueue[tuple[str, tuple[Any, ...]]] = SimpleQueue()
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries that print must not corrupt the answers
    threading.Thread(target=_answer, args=(calls.get, answers), daemon=True).start()
    while True:
        try:
            calls.put(pickle.load(sys.stdin.buffer))  # noqa: S301 - from the process that started this
        except EOFError:
            os._exit(0)  # even while a call hangs


def _answer(next_call: Callable[[], tuple[str, tuple[Any, ...]]], answers: int) -> None:
    calls = Calls()
    with os.fdopen(answers, "wb") as out:
        while True:
            name, arguments = next_call()
            answer: tuple[Any, str | None]
            try:
                answer = (getattr(calls, name)(*arguments), None)
            except Exception as error:
                answer = (None, getattr(error, "strerror", None) or " ".join(str(error).split()))
            data = pickle.dumps(answer)
            out.write(LENGTH.pack(len(data)) + data)
            out.flush()


if __name__ == "__main__":
    main()
