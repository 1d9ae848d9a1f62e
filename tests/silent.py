"""A server that accepts every connection and never answers as it should."""

import socket
import threading
import time
from typing import Literal, Self

How = Literal["silent", "stalls", "trickles"]


class SilentServer:
    """Listens on this machine while it is entered. `silent` says nothing, `stalls` after half an answer, `trickles`
    sends a byte now and then for ever, so that no limit on the slowness of a transfer is ever reached."""

    def __init__(self, how: How = "silent") -> None:
        self.how = how
        self.asked = threading.Event()
        """Whether somebody has connected."""

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for each in self._open:
            each.close()

    @property
    def url(self) -> str:
        """A folder in a bucket there, as `out` takes it."""
        return f"s3://key:secret@bucket/out?scheme=http&endpoint_override={self.address}&region=us-east-1"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            self.asked.set()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            if self.how != "silent":
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nETag: ")
            while self.how == "trickles":
                connection.sendall(b"x" * 8)
                time.sleep(0.5)
        except OSError:
            pass


class FailingLine:
    """Passes on all that is said to the server at `address`, until `cut` is called: then it is a `SilentServer`."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._to = (host, int(port))
        self._cut = threading.Event()
        self.asked_in_vain = threading.Event()
        """Whether somebody has said something since."""

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def cut(self) -> None:
        """Answer no more."""
        self._cut.set()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._socket.accept()
            except OSError:
                return
            there = socket.create_connection(self._to)
            for pair in ((here, there), (there, here)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if self._cut.is_set():
                    self.asked_in_vain.set()
                else:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
