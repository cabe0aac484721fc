"""What goes over a connection, written and read in one piece.

Around a command that the server runs in thirty microseconds, the driver spends as long again: it
packs the arguments one by one, asks three times of the system whether there is something to read,
makes a time limit for each task, and reads a reply line by line. What nearly every call needs is
short, so it is here: arguments that are bytes, and a reply that is one text, or a list of texts,
and came in one piece. What came is looked at before it is taken, or given back. So the driver reads
all other replies from where they begin: errors, what is long, and what a blocking connection gets
over TLS.
"""

from __future__ import annotations

import asyncio
import re
import select
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final

from redis import exceptions as driver

_MOST_BYTES: Final = 65_536  # of a reply
_BUFFER_BYTES: Final = 32_768  # half of what asyncio takes before a writer has to wait
_END: Final = b"\r\n"
_LIST: Final = re.compile(rb"\*(\d{1,6})\r\n")
_TEXT: Final = re.compile(rb"\$(\d{1,6})\r\n")


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


def reply_of(connection: Any) -> Any:
    """The reply to what was sent, as bytes.

    Raises:
        Exception: one of the driver's.
    """
    sock = getattr(connection, "_sock", None)
    if type(sock) is socket.socket and not connection.health_check_interval:
        try:
            seen = sock.recv(_MOST_BYTES, socket.MSG_PEEK)
        except TimeoutError:
            connection.disconnect()
            raise driver.TimeoutError("Timeout reading from socket") from None
        except OSError:  # the driver says what it is
            seen = b""
        if (reply := _whole(seen)) is not None:
            sock.recv(len(seen))
            return reply
    return connection.read_response(disable_decoding=True)


async def awrite(connection: Any, command: bytes) -> None:
    """Send a packed command; at once where the buffer takes it: a time limit costs a task."""
    small = len(command) <= _BUFFER_BYTES
    if small and connection.is_connected and not connection.health_check_interval:
        connection._writer.write(command)  # noqa: SLF001 -- there is no other way to its stream
    else:
        await connection.send_packed_command([command])


async def areply_of(connection: Any) -> Any:
    """See `reply_of`."""
    if not connection.health_check_interval:
        reader: asyncio.StreamReader = connection._reader  # noqa: SLF001 -- nor to this one
        seen = await _seen(reader, connection.socket_timeout)
        late = reader.exception() is not None  # it came with the time limit, which the reader keeps
        if not late and (reply := _whole(seen)) is not None:
            return reply
        if seen and not reader.at_eof():
            reader.feed_data(seen)
    return await connection.read_response(disable_decoding=True)


async def _seen(reader: asyncio.StreamReader, limit: float | None) -> bytes:
    """All that came, so that what is given back is the first again; nothing where that failed."""
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


def _whole(seen: bytes) -> bytes | list[bytes] | None:
    """The reply that bytes are, if it is one text or a list of texts; None if it is another."""
    texts: list[bytes] = []
    head = _LIST.match(seen)
    at, count = (head.end(), int(head[1])) if head else (0, 1)
    while len(texts) < count:
        if (length := _TEXT.match(seen, at)) is None:
            return None
        begin = length.end()
        end = begin + int(length[1])
        texts.append(seen[begin:end])
        at = end + 2
    if at != len(seen):
        return None
    return texts if head else texts[0]
