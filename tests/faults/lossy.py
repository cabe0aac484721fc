"""A proxy that does to connections what networks and proxies do, now and then, by a seed."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from backends.proxy import Proxy, _chunks

FAULTS: Final = (
    "cut before",  # nothing of the request arrives
    "cut in it",  # half of it arrives
    "cut after",  # it arrives, and its reply does not
    "half a reply",  # half of the reply arrives
    "reset",  # the connection is reset instead of a reply
    "delay",  # the reply comes late
    "too late",  # so late that nobody waits for it any more
)
DELAY_S: Final = 0.02
TOO_LATE_S: Final = 0.25
SOCKET_TIMEOUT: Final = "150ms"


class LossyProxy(Proxy):
    """A proxy to a server.

    Args:
        host: the server's address.
        port: the server's port.
        seed: decides which requests are hit, and how.
        often: how many of a hundred requests are hit.

    Attributes:
        faults: how many of which there were.
        on: whether there are any.
    """

    def __init__(self, host: str, port: int, seed: int, often: int) -> None:
        self.faults: Counter[str] = Counter()
        self.on = True
        self._often = often
        self._drawn = random.Random(seed)
        self._pending: dict[socket.socket, str] = {}
        super().__init__(host, port)

    def _draw(self) -> str | None:
        with self._lock:
            if not self.on or self._drawn.randrange(100) >= self._often:
                return None
            fault = self._drawn.choice(FAULTS)
            self.faults[fault] += 1
            return fault

    def _requests(
        self, client: socket.socket, server: socket.socket, cutting: threading.Event
    ) -> None:
        for data in _chunks(client, server):
            fault = self._draw()
            if fault == "cut before":
                return
            if fault is not None:
                self._pending[server] = fault
            with suppress(OSError):
                server.sendall(data[: len(data) // 2] if fault == "cut in it" else data)
            if fault == "cut in it":
                return

    def _replies(
        self, server: socket.socket, client: socket.socket, cutting: threading.Event
    ) -> None:
        for data in _chunks(server, client):
            fault = self._pending.pop(server, None)
            if fault == "cut after":
                return
            if fault == "reset":
                with suppress(OSError):
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.shutdown(socket.SHUT_RD)  # whoever reads from it lets go
                    client.close()
                return
            if fault in {"delay", "too late"}:
                time.sleep(DELAY_S if fault == "delay" else TOO_LATE_S)
            with suppress(OSError):
                client.sendall(data[: len(data) // 2] if fault == "half a reply" else data)
            if fault == "half a reply":
                return


@contextmanager
def lossy_proxy(host: str, port: int, seed: int, often: int) -> Iterator[LossyProxy]:
    """A proxy, closed in the end."""
    proxy = LossyProxy(host, port, seed, often)
    try:
        yield proxy
    finally:
        proxy.close()
