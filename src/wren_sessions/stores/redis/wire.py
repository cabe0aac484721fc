"""What goes over a connection, written and read in one piece.

Around a command that the server runs in thirty microseconds, the driver spends as long again: it
packs the arguments one by one, makes a time limit for each task, and reads a reply line by line.
What nearly every call needs is simpler, so it is here: arguments that are bytes, and a reply that
is one text, or a list of texts. If a reply turns out to be something else, such as an error, all
that came of it is given back, and the driver reads it from where it begins. The driver also reads
what a blocking connection gets over TLS, or in several pieces: there it is as quick.
"""

from __future__ import annotations

import asyncio
import io
import re
import select
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final

from redis import exceptions as driver

_PIECE_BYTES: Final = 65_536  # to read at once
_BUFFER_BYTES: Final = 32_768  # half of what asyncio takes before a writer has to wait
_END: Final = b"\r\n"
_LIST: Final = re.compile(rb"\*(\d{1,6})\r\n")
_TEXT: Final = re.compile(rb"\$(\d{1,9})\r\n")
_BEGINNING: Final = re.compile(rb"(\$\d{0,9}\r?)?")  # of a text, as far as it came


def packed(command: Sequence[Any]) -> bytes:
    """A command as the server reads it: its words are bytes or texts."""
    parts = [b"*%d\r\n" % len(command)]
    for word in command:
        raw = word if type(word) is bytes else str(word).encode()
        parts += (b"$%d\r\n" % len(raw), raw, _END)
    return b"".join(parts)


def is_quiet(connection: Any) -> bool:
    """Whether a connection is open and has nothing to read; False where this cannot tell."""
    sock = getattr(connection, "_sock", None)
    if type(sock) is not socket.socket or not hasattr(select, "poll"):  # TLS; Windows
        return False
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return not poll.poll(0)


def exchange(connection: Any, command: bytes) -> Any:
    """Send a packed command, and read its reply, as bytes.

    Raises:
        Exception: one of the driver's.
    """
    sock = getattr(connection, "_sock", None)
    if type(sock) is not socket.socket or connection.health_check_interval:
        connection.send_packed_command([command])
        return connection.read_response(disable_decoding=True)
    try:
        sock.sendall(command)
        came = sock.recv(_PIECE_BYTES)
        if (reply := _whole(came)) is not None:
            return reply
        _give_back(connection._parser, came)  # noqa: SLF001 -- it has no public name
    except TimeoutError:
        connection.disconnect()
        raise driver.TimeoutError("Timeout reading from socket") from None
    except OSError as error:
        connection.disconnect()
        raise driver.ConnectionError(f"Error while talking to the server: {error}") from error
    return connection.read_response(disable_decoding=True)


def _give_back(parser: Any, came: bytes) -> None:
    """Have the driver's parser begin with what came."""
    if (hiredis := getattr(parser, "_reader", None)) is not None:
        hiredis.feed(came)
        return
    buffer = parser._buffer._buffer  # noqa: SLF001 -- it reads from there
    at = buffer.tell()
    buffer.seek(0, io.SEEK_END)
    buffer.write(came)
    buffer.seek(at)


async def aexchange(connection: Any, command: bytes) -> Any:
    """See `exchange`. A short command is written at once: a time limit for that costs a task."""
    reader: asyncio.StreamReader | None = connection._reader  # noqa: SLF001 -- no public name
    if reader is None or connection.health_check_interval:
        await connection.send_packed_command([command])
        return await connection.read_response(disable_decoding=True)
    if len(command) <= _BUFFER_BYTES:
        connection._writer.write(command)  # noqa: SLF001 -- nor this one
    else:
        await connection.send_packed_command([command])
    came = await _seen(reader, connection.socket_timeout)
    if reader.exception() is None and (reply := _whole(came)) is not None:
        return reply
    if came and (reply := await _all_seen(reader, connection.socket_timeout, came)) is not None:
        return reply
    return await connection.read_response(disable_decoding=True)


async def _all_seen(reader: asyncio.StreamReader, limit: float | None, came: bytes) -> Any:
    """A reply that began with what came; None if the driver has to read it."""
    reply = _Pieces(came)
    while reply.missing and reader.exception() is None and (piece := await _seen(reader, limit)):
        reply.add(piece)
    if reader.exception() is None and (value := reply.value) is not None:
        return value
    if not reader.at_eof():
        reader.feed_data(bytes(reply.came))
    return None


async def _seen(reader: asyncio.StreamReader, limit: float | None) -> bytes:
    """All that came, so that what is given back is the first again; nothing where that failed.

    It may have come with the time limit, which the reader keeps as its exception.
    """
    late = None
    if limit is not None:
        late = asyncio.get_running_loop().call_later(limit, reader.set_exception, TimeoutError())
    try:
        return await reader.read(sys.maxsize)
    except OSError:  # the reader keeps it: the driver comes upon it, and says what it is
        return b""
    finally:
        if late is not None:
            late.cancel()


def _whole(came: bytes) -> bytes | list[bytes] | None:
    """The reply that bytes are, if it is one text or a list of texts; None if it is another."""
    texts: list[bytes] = []
    head = _LIST.match(came)
    at, count = (head.end(), int(head[1])) if head else (0, 1)
    while len(texts) < count:
        if (length := _TEXT.match(came, at)) is None:
            return None
        begin = length.end()
        end = begin + int(length[1])
        texts.append(came[begin:end])
        at = end + 2
    if at != len(came):
        return None
    return texts if head else texts[0]


class _Pieces:
    """A reply that comes in several pieces.

    Args:
        came: the first one.

    Attributes:
        came: all of them so far.
        missing: how many bytes it takes to go on; 0 if it is whole, or something else.
    """

    def __init__(self, came: bytes) -> None:
        head = _LIST.match(came)
        self._at, self._count = (head.end(), int(head[1])) if head else (0, 1)
        self._is_list = head is not None
        self._texts: list[slice] = []
        self.came: bytearray = bytearray(came)
        self.missing: int = self._go_on()

    def add(self, piece: bytes) -> None:
        """Add the next one."""
        self.came += piece
        self.missing -= len(piece)
        if self.missing <= 0:
            self.missing = self._go_on()

    def _go_on(self) -> int:
        """Find the texts that came; how many bytes are missing to the end of the next, at least."""
        while len(self._texts) < self._count:
            if (length := _TEXT.match(self.came, self._at)) is None:
                return 1 if _BEGINNING.fullmatch(self.came, self._at) else 0
            text = slice(length.end(), length.end() + int(length[1]))
            if (missing := text.stop + 2 - len(self.came)) > 0:
                return missing
            self._texts.append(text)
            self._at = text.stop + 2
        return 0

    @property
    def value(self) -> bytes | list[bytes] | None:
        """The text or the texts, if that is all that came."""
        if len(self._texts) < self._count or self._at != len(self.came):
            return None
        with memoryview(self.came) as view:
            texts = [bytes(view[text]) for text in self._texts]
        return texts if self._is_list else texts[0]
