"""The write-ahead log of a session file: made longer before it is needed, begun anew when too long.

A write behind the end of a file changes its length, so that a wait for the disk is one for the file
system's journal as well: with five pages a commit 250 µs, against 160 within the file. So whoever
goes on committing looks now and then how much of the log is free, and makes it longer by half where
that is little, until it is as long as SQLite lets it become. What is added are zeros, which SQLite
takes for the end of the log.

Nothing is lost whatever happens here: zeros are appended, so that they never stand where somebody
has written, and a log that cannot be made longer grows as it did.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from contextlib import suppress
from io import FileIO
from shutil import disk_usage
from typing import Final

LENGTHEN_EVERY: Final = 8  # commits
LOOK_EVERY: Final = 64  # commits

_HEADER_BYTES: Final = 32
_LEAST: Final = 64  # frames: what the commits until the next look may write
_MOST: Final = 1_024  # frames; SQLite begins anew behind 1,000, and ends the commit it is at
_SPARE: Final = 64  # times what is added is to be free on the disk
_LONG_BYTES: Final = 16_777_216


def lengthen(path: str) -> bool:
    """Make the log longer if little of it is free.

    Args:
        path: of the session file, which is locked for writing.

    Returns:
        Whether there will be more to do.
    """
    with suppress(OSError), FileIO(f"{path}-wal", "a+", opener=_open) as log:
        length = log.tell()
        used, frame_bytes = _used(log, length)
        count = (length - _HEADER_BYTES) // frame_bytes
        more = min(max(_LEAST, used // 2), _MOST - count) * frame_bytes
        if count - used < _LEAST and more > 0 and disk_usage(path).free > _SPARE * more:
            log.write(bytes(more))
        return count < _MOST
    return False


def _open(path: str, flags: int) -> int:
    """Open a file that is there."""
    return os.open(path, flags & ~os.O_CREAT)


def _used(log: FileIO, length: int) -> tuple[int, int]:
    """How many frames are in use, and how long each is; behind them are older ones, or zeros.

    See https://sqlite.org/fileformat2.html#the_write_ahead_log.
    """

    def is_old(at: int) -> bool:
        log.seek(_HEADER_BYTES + at * frame_bytes + 8)
        return log.read(8) != header[16:24]

    log.seek(0)
    header = log.read(_HEADER_BYTES)
    frame_bytes = 24 + int.from_bytes(header[8:12])
    frames = range((length - _HEADER_BYTES) // frame_bytes)
    return bisect_left(frames, True, key=is_old), frame_bytes


def is_long(path: str) -> bool:
    """Whether the log is so long that it should begin anew."""
    with suppress(OSError):
        return os.stat(f"{path}-wal").st_size >= _LONG_BYTES  # noqa: PTH116
    return False
