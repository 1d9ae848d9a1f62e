"""Whether the driver's cluster is still there: its control store (GCS), and the raylet of this machine.

Where one of them dies, calls to Ray block, and within a minute Ray ends the driver with exit code 1, whatever it does
at that moment. The watch is a thread of its own, for it has to hear of that while a call blocks.
"""

import contextlib
import errno
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Self

import ray

from orchestrator.schedule.address import parsed

LOST_EXIT_CODE = 4
"""Of a driver whose cluster is gone."""

_LOOKS_EVERY_S = 1.0
_CONNECTS_WITHIN_S = 3.0

_lost = threading.Event()


class ClusterLost(Exception):  # noqa: N818 - an event, as `Interrupted`
    """The cluster is gone in the middle of a sweep. The message is one line; what has finished is in the journal."""


def lost() -> bool:
    """Whether the cluster of this process is gone: nothing more may be asked of Ray, which would block."""
    return _lost.is_set()


class Watch:
    """Looks after the cluster that this process has joined, while entered.

    A head that restarts keeps its cluster: the control store may be away for two thirds of the time after which Ray
    gives it up (`RAY_gcs_rpc_server_reconnect_timeout_s`). A Ray that was started here never restarts its own: one that
    refuses is dead, and one that cannot be reached may not be.
    """

    def __init__(self) -> None:
        node = ray._private.worker._global_node  # noqa: SLF001 - there is no public way to these
        self._address = str(node.gcs_address)
        self._logs = str(node.get_logs_dir_path())
        given_up_s = float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", "60"))  # noqa: SIM112 - so Ray spells it
        self._started_here = bool(node.head)
        self._restarts_within_s = given_up_s * 2 / 3
        self._leaves_within_s = given_up_s / 6
        self._silent_since: float | None = None
        self._cause: str | None = None
        # Held open, for the raylet writes a line into its log whenever one is closed.
        self._raylet = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):  # it has died already: the first look finds that out
            self._raylet.connect(node.raylet_socket_name)
        self._raylet.setblocking(False)
        self._left = threading.Event()
        self._delivering = threading.Lock()
        self._thread = threading.Thread(target=self._keep_looking, name="watch", daemon=True)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._left.set()
        self._raylet.close()

    @contextlib.contextmanager
    def delivering(self) -> Iterator[None]:
        """While entered, a result is being kept, which may take longer than the cluster is waited for."""
        with self._delivering:
            yield

    @property
    def answers(self) -> bool:
        """Whether the cluster answered at the last look; until it does again, calls to Ray may block."""
        return self._cause is None and self._silent_since is None

    def look(self) -> bool:
        """Look now; returns whether the cluster answers."""
        if not self._raylet_lives():
            self._cause = "the raylet of this machine, through which its driver works, has died"
        elif (silence := self._silence()) is None:
            self._silent_since = None
        else:
            now = time.monotonic()
            self._silent_since = since = self._silent_since or now
            dead = self._started_here and isinstance(silence, ConnectionRefusedError)
            if dead or now - since >= self._restarts_within_s:
                waited = "" if dead else f" for {now - since:.0f} s"
                self._cause = f"its control store (GCS) has not answered{waited}"
        return self.answers

    def check(self) -> None:
        """Raise `ClusterLost` where the cluster is gone for good."""
        if self._cause is not None:
            _lost.set()
            raise ClusterLost(self._message())

    def _message(self) -> str:
        return f"lost the Ray cluster at {self._address}: {self._cause}; Ray's logs: {self._logs}"

    def _keep_looking(self) -> None:
        while not self._left.wait(_LOOKS_EVERY_S):
            self.look()
            if self._cause is not None:
                self._end_unless_left()
                return

    def _end_unless_left(self) -> None:
        """Give the driver time to leave by itself, and again after each result that it keeps."""
        while not self._left.wait(self._leaves_within_s):
            if self._delivering.acquire(blocking=False):
                self._end_the_process()
                return

    def _end_the_process(self) -> None:
        """The driver hangs in a call to Ray, which nothing interrupts, and has nothing that is not in the journal.

        Ray would end it too, with an exit code that says nothing.
        """
        print(f"{self._message()}. The same command goes on where this one stopped.", file=sys.stderr, flush=True)
        os._exit(LOST_EXIT_CODE)

    def _raylet_lives(self) -> bool:
        try:
            return bool(self._raylet.recv(1, socket.MSG_PEEK))  # a raylet that is gone has closed its end
        except BlockingIOError:  # it has nothing to say, as ever
            return True
        except OSError:
            return self._left.is_set()  # then we closed it

    def _silence(self) -> OSError | None:
        """Why the control store does not answer; null where it does, or where we have no socket to ask with."""
        try:
            socket.create_connection(parsed(self._address), timeout=_CONNECTS_WITHIN_S).close()
        except OSError as error:
            return None if error.errno in (errno.EMFILE, errno.ENFILE) else error
        return None
