"""A server that speaks Redis's protocol, and says what a test has it say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from typing import Final, TypeAlias

Answer: TypeAlias = Callable[[list[str]], "str | Exception | list[str] | None"]
"""What a command gives: text, an error, a list; or None to hang up."""

_END: Final = b"\r\n"


@contextmanager
def speaking(answer: Answer) -> Iterator[str]:
    """Run a server; gives its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=_serve, args=(client, answer), daemon=True))
            threads[-1].start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0?protocol=2&retries=0"
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _serve(client: socket.socket, answer: Answer) -> None:
    with client, client.makefile("rb") as stream, suppress(OSError):
        while command := _command(stream):
            reply = answer(command)
            if reply is None:
                return
            client.sendall(_encoded(reply))


def _command(stream: BufferedReader) -> list[str]:
    head = stream.readline()
    if not head.startswith(b"*"):
        return []
    words = []
    for _ in range(int(head[1:])):
        size = int(stream.readline()[1:])
        words.append(stream.read(size + 2)[:-2].decode("utf-8", "replace"))
    return words


def _encoded(reply: str | Exception | list[str]) -> bytes:
    if isinstance(reply, Exception):
        return b"-" + str(reply).encode() + _END
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(_encoded, reply))
    return b"$%d\r\n" % len(reply.encode()) + reply.encode() + _END
