"""The write-ahead log of a session file: extended before it is full, and restarted when too long.

A write past the end of a file changes the file's length. Then the wait for the disk includes the
file system's journal: with five pages per commit 250 µs, instead of 160 within the file. So during
commits, the free space of the log is checked now and then. If little is left, the log is extended
by half, up to the length at which SQLite restarts it. It is extended with zeros, which SQLite takes
for the end of the log.

Nothing can get lost: zeros are appended, so they never overwrite anything, and a log that cannot be
extended grows as it would anyway.
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
