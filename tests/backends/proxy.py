"""A proxy on the loopback interface that loses what a network loses: replies, and connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

CHUNK_BYTES: Final = 65_536


class Proxy:
    """Forwards connections to a server, until it is told to lose something.

    Args:
        host: the server's address.
        port: the server's port.

    Attributes:
        requests: what clients sent, chunk by chunk.
        lost: how many replies did not come through.
    """

    def __init__(self, host: str, port: int) -> None:
        self.requests: list[bytes] = []
        self.lost = 0
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._came = threading.Condition()
        self._sockets: list[socket.socket] = []
        self._to_cut: list[bytes] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._open = True
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """The URL of database 0, through the proxy."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def wait_for(self, needle: bytes) -> None:
        """Wait until the latest request is one that holds `needle`."""
        with self._came:
            self._came.wait_for(lambda: bool(self.requests) and needle in self.requests[-1])

    def cut(self, needle: bytes, times: int = 1) -> None:
        """Lose the replies to the next requests that hold `needle`.

        The server gets such a request and answers it; then the connection is closed, and the client
        does not know what became of it.
        """
        with self._lock:
            self._to_cut += [needle] * times

    def hold(self) -> None:
        """Deliver requests, and keep every reply back, until `release`."""
        self._flowing.clear()

    def release(self) -> None:
        """Deliver the replies that were kept back, and those to come."""
        self._flowing.set()

    def close(self) -> None:
        """Close all connections, and end."""
        self._open = False
        self._flowing.set()
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for one in sockets:
            _close(one)
        with suppress(OSError), socket.create_connection(self._listener.getsockname()):
            pass  # wakes the thread that accepts
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if not self._open:
                client.close()
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets += [client, server]
            cutting = threading.Event()
            self._start(self._requests, client, server, cutting)
            self._start(self._replies, server, client, cutting)

    def _start(self, pump: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=pump, args=args)
        self._threads.append(thread)
        thread.start()

    def _requests(
        self, client: socket.socket, server: socket.socket, cutting: threading.Event
    ) -> None:
        for data in _chunks(client, server):
            with self._came:
                self.requests.append(data)
                self._came.notify_all()
            if self._is_to_be_cut(data):
                cutting.set()
            with suppress(OSError):
                server.sendall(data)

    def _is_to_be_cut(self, data: bytes) -> bool:
        with self._lock:
            if self._to_cut and self._to_cut[0] in data:
                del self._to_cut[0]
                return True
        return False

    def _replies(
        self, server: socket.socket, client: socket.socket, cutting: threading.Event
    ) -> None:
        for data in _chunks(server, client):
            if cutting.is_set():
                self.lost += 1
                return
            self._flowing.wait()
            with suppress(OSError):
                client.sendall(data)


def _chunks(source: socket.socket, other: socket.socket) -> Iterator[bytes]:
    """What comes from a socket, to its end; then, or when nobody listens, both are closed."""
    try:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                yield data
    finally:
        _close(source)
        _close(other)


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def proxy_to(host: str, port: int) -> Iterator[Proxy]:
    """A proxy to a server, closed in the end."""
    proxy = Proxy(host, port)
    try:
        yield proxy
    finally:
        proxy.close()
