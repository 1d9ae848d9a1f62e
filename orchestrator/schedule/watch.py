"""Checks that the driver's cluster is still there: its control store (GCS), and the raylet of this machine.

If one of them dies, calls to Ray block, and within a minute Ray ends the driver with exit code 1. The watch has its own
thread, since it must notice this while a call blocks.
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
from workers.records.errors import JouleGridError

LOST_EXIT_CODE = 4
"""Exit code of a driver that has lost its cluster."""

_INTERVAL_S = 1.0
_CONNECT_TIMEOUT_S = 3.0

_lost = threading.Event()


class ClusterLost(JouleGridError):  # noqa: N818 - an event, as `Interrupted`
    """The cluster is gone in the middle of a sweep. The message is one line; finished runs are in the journal."""


def lost() -> bool:
    """Whether the cluster of this process is gone: any further call to Ray would block."""
    return _lost.is_set()


class Watch:
    """Checks every second, while entered, that the cluster of this process answers.

    A head that restarts keeps its cluster. The control store may therefore be silent for two thirds of the time after
    which Ray gives it up (`RAY_gcs_rpc_server_reconnect_timeout_s`). A Ray cluster that was started here never restarts
    its control store: if it refuses connections, it is dead; if it cannot be reached, it may be alive.
    """

    def __init__(self) -> None:
        node = ray._private.worker._global_node  # noqa: SLF001 - there is no public way to these
        self._address = str(node.gcs_address)
        self._logs = str(node.get_logs_dir_path())
        given_up_s = float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", "60"))  # noqa: SIM112 - Ray's own name
        self._started_here = bool(node.head)
        self._restarts_within_s = given_up_s * 2 / 3
        self._leaves_within_s = given_up_s / 6
        self._silent_since: float | None = None
        self._cause: str | None = None
        # Held open: the raylet writes a line into its log whenever a connection is closed.
        self._raylet = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):  # it has died already, which the first check notices
            self._raylet.connect(node.raylet_socket_name)
        self._raylet.setblocking(False)
        self._left = threading.Event()
        self._delivering = threading.Lock()
        self._thread = threading.Thread(target=self._check_until_left, name="watch", daemon=True)

    def __enter__(self) -> Self:
        """Start to check."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop to check."""
        self._left.set()
        self._raylet.close()

    @contextlib.contextmanager
    def delivering(self) -> Iterator[None]:
        """While entered, the driver stores a result, and the watch does not end the process."""
        with self._delivering:
            yield

    @property
    def answers(self) -> bool:
        """Whether the cluster answered at the last check; until it does again, calls to Ray may block."""
        return self._cause is None and self._silent_since is None

    def check_reachable(self) -> bool:
        """Check now; returns whether the cluster answers."""
        if not self._raylet_is_alive():
            self._cause = "the raylet of this machine, through which its driver works, has died"
        elif (silence := self._silence()) is None:
            self._silent_since = None
        else:
            now = time.monotonic()
            self._silent_since = since = self._silent_since or now
            dead = self._started_here and isinstance(silence, ConnectionRefusedError)
            if dead or now - since >= self._restarts_within_s:
                silent = "does not answer" if dead else f"has not answered for {now - since:.0f} s"
                self._cause = f"its control store (GCS) {silent}"
        return self.answers

    def raise_if_lost(self) -> None:
        """Raise `ClusterLost` if the cluster is gone for good."""
        if self._cause is not None:
            _lost.set()
            raise ClusterLost(self._message())

    def _message(self) -> str:
        return f"lost the Ray cluster at {self._address}: {self._cause}; Ray's logs: {self._logs}"

    def _check_until_left(self) -> None:
        while not self._left.wait(_INTERVAL_S):
            self.check_reachable()
            if self._cause is not None:
                self._end_unless_left()
                return

    def _end_unless_left(self) -> None:
        """Give the driver time to leave by itself, and again after each result that it stores."""
        while not self._left.wait(self._leaves_within_s):
            if self._delivering.acquire(blocking=False):
                self._end_the_process()
                return

    def _end_the_process(self) -> None:
        """End the driver. It hangs in a call to Ray, which nothing can interrupt; all it has is in the journal.

        Ray would end it too, with an exit code that does not name the cause.
        """
        print(f"{self._message()}. Run the same command again to continue.", file=sys.stderr, flush=True)
        os._exit(LOST_EXIT_CODE)

    def _raylet_is_alive(self) -> bool:
        try:
            return bool(self._raylet.recv(1, socket.MSG_PEEK))  # a dead raylet has closed its end
        except BlockingIOError:  # a live raylet sends nothing
            return True
        except OSError:
            return self._left.is_set()  # then we have closed it

    def _silence(self) -> OSError | None:
        """Why the control store does not answer; null if it does, or if this process can open no more sockets."""
        try:
            socket.create_connection(parsed(self._address), timeout=_CONNECT_TIMEOUT_S).close()
        except OSError as error:
            return None if error.errno in (errno.EMFILE, errno.ENFILE) else error
        return None
