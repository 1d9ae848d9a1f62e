"""Servers that accept every connection and never answer properly."""

import socket
import threading
import time
from typing import Literal, Self

How = Literal["silent", "stalls", "trickles"]


class SilentServer:
    """Listens on this machine while entered. `silent` sends nothing, `stalls` stops after half an answer, `trickles`
    sends a few bytes now and then for ever, so that no limit on slow transfers applies."""

    def __init__(self, how: How = "silent") -> None:
        self.how = how
        self.connected = threading.Event()
        """Set by the first connection."""

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
        """The URL of a folder in a bucket there, for `out`."""
        return f"s3://key:secret@bucket/out?scheme=http&endpoint_override={self.address}&region=us-east-1"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            self.connected.set()
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
    """Forwards connections to the server at `address` until `cut` is called; then it answers nothing."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._to = (host, int(port))
        self._cut = threading.Event()
        self.ignored = threading.Event()
        """Set when data arrives after `cut`."""

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def cut(self) -> None:
        """Stop forwarding."""
        self._cut.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            server = socket.create_connection(self._to)
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if self._cut.is_set():
                    self.ignored.set()
                else:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
