"""A proxy on the loopback interface that counts: bytes in both directions, and round trips.

It counts for any client and any server, so all savers are counted in the same way. It takes time,
so nothing is timed through it.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 1 << 20


@dataclass
class Traffic:
    """What went through.

    Attributes:
        sent_bytes: from clients to the server.
        received_bytes: from the server to clients.
        trips: how often a client sent something, first of all or after it had received something.
    """

    sent_bytes: int = 0
    received_bytes: int = 0
    trips: int = 0

    def since(self, before: Traffic) -> Traffic:
        """The difference."""
        return Traffic(
            self.sent_bytes - before.sent_bytes,
            self.received_bytes - before.received_bytes,
            self.trips - before.trips,
        )


class CountingProxy:
    """A proxy to one server; use it through `proxy_to`.

    Args:
        port: the server's, on the loopback interface.

    Attributes:
        port: where it listens itself.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._traffic = Traffic()
        self._lock = threading.Lock()

    def traffic(self) -> Traffic:
        """All that went through so far."""
        with self._lock:
            return Traffic(**vars(self._traffic))

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection((HOST, self._server_port))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()

    def close(self) -> None:
        """Accept nobody any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        others = {client: server, server: client}
        with client, server, selectors.DefaultSelector() as selector, suppress(OSError):
            for end in others:
                selector.register(end, selectors.EVENT_READ)
            asked = False
            while True:
                for event, _ in selector.select():
                    source = client if event.fileobj is client else server
                    data = source.recv(CHUNK_BYTES)
                    if not data:
                        return
                    asks = source is client
                    self._count(len(data), asks=asks, trip=asks and not asked)
                    asked = asks
                    others[source].sendall(data)

    def _count(self, size: int, *, asks: bool, trip: bool) -> None:
        with self._lock:
            self._traffic.sent_bytes += size * asks
            self._traffic.received_bytes += size * (not asks)
            self._traffic.trips += trip


@contextmanager
def proxy_to(port: int) -> Iterator[CountingProxy]:
    """A proxy to a server on a loopback port, until the end of the block."""
    proxy = CountingProxy(port)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(5)
