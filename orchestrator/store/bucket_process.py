"""What talks to a bucket: a program of its own, which `bucket.py` starts, asks over pipes, and ends where it hangs.

A call that the network holds cannot be ended within a process: Arrow's calls take no time limit that holds for a server
that trickles, and hear no signal. Run by its path, so that it imports Arrow and nothing else.
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
"""What goes before each answer: its length in bytes."""

_AT_ONCE = 16
"""Calls at once: each costs a round trip."""


class Calls:
    """What can be asked for. Names are within the URL's folder."""

    def open(self, uri: str) -> None:
        """Find the place; asks the network at most for the bucket's region."""
        self._fs, self._root = pafs.FileSystem.from_uri(uri)

    def write(self, name: str, data: bytes) -> None:
        """Put `data` under `name`."""
        with self._fs.open_output_stream(self._path(name)) as stream:
            stream.write(data)

    def upload(self, name: str, path: str) -> None:
        """Put a file's bytes under `name`."""
        with open(path, "rb") as file, self._fs.open_output_stream(self._path(name)) as stream:  # noqa: PTH123 - plain
            shutil.copyfileobj(file, stream, 2**20)

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """What stands under each name; null where there is no such name."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self._read, names))

    def entries(self, inside: str) -> dict[str, float]:
        """Files directly in the subfolder, and when the bucket's own clock says each was written. Unit: s."""
        found = self._fs.get_file_info(pafs.FileSelector(self._path(inside), allow_not_found=True))
        return {info.base_name: info.mtime_ns / 1e9 for info in found if info.type == pafs.FileType.File}

    def move(self, name: str, to: str) -> None:
        """Rename."""
        self._fs.move(self._path(name), self._path(to))

    def delete_all(self, names: Sequence[str]) -> None:
        """Remove the names; nothing happens where one is none."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
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
    """Answer what is asked on stdin, in order, until that closes: whoever asks is gone then, and so is this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this decides
    asked: SimpleQueue[tuple[str, tuple[Any, ...]]] = SimpleQueue()
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no answer
    threading.Thread(target=_answer, args=(asked.get, answers), daemon=True).start()
    while True:
        try:
            asked.put(pickle.load(sys.stdin.buffer))  # noqa: S301 - from the process that started this
        except EOFError:
            os._exit(0)  # also while a call hangs


def _answer(next_asked: Callable[[], tuple[str, tuple[Any, ...]]], answers: int) -> None:
    calls = Calls()
    with os.fdopen(answers, "wb") as out:
        while True:
            name, arguments = next_asked()
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
