"""A stand-in for a Redis server with JSON and search modules, to count what its clients send.

The official Redis saver needs these modules. Where no such server is given, its calls are answered
from here: documents and keys in a dictionary, no search. So bytes and round trips of get_tuple, put
and put_writes are counted as they are. A search for pending writes finds none, as a turn begins
with a checkpoint that has none; listing and deleting, which search for more, are refused. Nothing
is timed against it.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Final, TypeAlias

from benchmarks.servers import HOST

Reply: TypeAlias = "bytes | int | str | list[Reply] | Exception | None"
Handler: TypeAlias = Callable[["_Data", list[bytes]], Reply]
SEARCH: Final = Exception("ERR the stand-in cannot search")


class _Data:
    """All keys."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.strings: dict[bytes, bytes] = {}
        self.documents: dict[bytes, bytes] = {}
        self.scores: dict[bytes, dict[bytes, float]] = {}


def _hello(_: _Data, __: list[bytes]) -> Reply:
    return Exception("ERR unknown command 'HELLO'")


def _set(data: _Data, arguments: list[bytes]) -> Reply:
    data.strings[arguments[0]] = arguments[1]
    return "OK"


def _set_document(data: _Data, arguments: list[bytes]) -> Reply:
    data.documents[arguments[0]] = arguments[2]
    return "OK"


def _get_document(data: _Data, arguments: list[bytes]) -> Reply:
    """The whole document, or one of its fields, as the legacy path and as JSONPath."""
    found = data.documents.get(arguments[0])
    path = arguments[1] if len(arguments) > 1 else b"."
    if found is None or path == b".":
        return found
    if path == b"$":
        return b"[" + found + b"]"
    field = path.removeprefix(b"$.").decode()
    return json.dumps([json.loads(found)[field]], separators=(",", ":")).encode()


def _merge_document(data: _Data, arguments: list[bytes]) -> Reply:
    merged = json.loads(data.documents[arguments[0]]) | json.loads(arguments[2])
    data.documents[arguments[0]] = json.dumps(merged, separators=(",", ":")).encode()
    return "OK"


def _add_scores(data: _Data, arguments: list[bytes]) -> Reply:
    held = data.scores.setdefault(arguments[0], {})
    pairs = dict(zip(arguments[2::2], map(float, arguments[1::2]), strict=True))
    added = len(pairs.keys() - held.keys())
    held |= pairs
    return added


def _range(data: _Data, arguments: list[bytes]) -> Reply:
    held = data.scores.get(arguments[0], {})
    return [*sorted(held, key=lambda member: (held[member], member))]


COMMANDS: Final[dict[str, Handler]] = {
    "HELLO": _hello,
    "PING": lambda _, __: "PONG",
    "ECHO": lambda _, arguments: arguments[0],
    "CLIENT": lambda _, __: "OK",
    "SELECT": lambda _, __: "OK",
    "MODULE": lambda _, __: [[b"name", name, b"ver", 999_999] for name in (b"search", b"ReJSON")],
    "INFO": lambda _, __: b"redis_version:7.4.0\r\n",
    "FT._LIST": lambda _, __: [],
    "FT.INFO": lambda _, __: Exception("Unknown index name"),
    "FT.CREATE": lambda _, __: "OK",
    "FT.SEARCH": lambda _, arguments: [0] if arguments[0] == b"checkpoint_write" else SEARCH,
    "JSON.SET": _set_document,
    "JSON.GET": _get_document,
    "JSON.MERGE": _merge_document,
    "SET": _set,
    "GET": lambda data, arguments: data.strings.get(arguments[0]),
    "EXISTS": lambda data, arguments: int(
        any(arguments[0] in held for held in (data.strings, data.documents, data.scores))
    ),
    "EXPIRE": lambda _, __: 1,
    "ZADD": _add_scores,
    "ZCARD": lambda data, arguments: len(data.scores.get(arguments[0], ())),
    "ZRANGE": _range,
}


class _Connection(socketserver.StreamRequestHandler):
    """Answers one client, command by command."""

    server: _Server

    def handle(self) -> None:
        with suppress(ConnectionError):
            self._answer()

    def _answer(self) -> None:
        while (arguments := _command(self.rfile)) is not None:
            handler = COMMANDS.get(arguments[0].decode().upper())
            with self.server.data.lock:
                reply = handler(self.server.data, arguments[1:]) if handler else _unknown(arguments)
            self.wfile.write(_encoded(reply))


def _unknown(arguments: list[bytes]) -> Reply:
    return Exception(f"ERR unknown command {arguments[0].decode()!r}")


def _command(stream: BufferedIOBase) -> list[bytes] | None:
    head = stream.readline()
    if not head:
        return None
    return [_bulk(stream) for _ in range(int(head[1:]))]


def _bulk(stream: BufferedIOBase) -> bytes:
    size = int(stream.readline()[1:])
    return stream.read(size + 2)[:-2]


def _encoded(reply: Reply) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, Exception):
        return b"-%s\r\n" % str(reply).encode()
    if isinstance(reply, str):
        return b"+%s\r\n" % reply.encode()
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(_encoded, reply))
    return b"$%d\r\n%s\r\n" % (len(reply), reply)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Connection)
        self.data = _Data()


@dataclass(frozen=True)
class StandIn:
    """A stand-in that serves; see `standing_in`.

    Attributes:
        url: where.
    """

    url: str


@contextmanager
def standing_in() -> Iterator[StandIn]:
    """Serve until the end of the block."""
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield StandIn(f"redis://{HOST}:{server.server_address[1]}/0")
        finally:
            server.shutdown()
            thread.join()
