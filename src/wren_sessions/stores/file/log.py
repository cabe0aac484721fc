"""The write-ahead log of a session file: made longer before it is needed, begun anew when too long.

A write behind the end of a file changes its length, so that a wait for the disk is one for the file
system's journal as well: with five pages a commit 250 µs, against 160 within the file. So a process
that goes on committing makes the log longer for as many commits again, until it is as long as
SQLite lets it become. What is added are zeros, which SQLite takes for the end of the log.

Nothing is lost whatever happens here: zeros are appended, so that they never stand where somebody
has written, and a log that cannot be made longer grows as it did.
"""

from __future__ import annotations

import os
from contextlib import suppress
from shutil import disk_usage
from typing import Final

LENGTHENED_AT: Final = frozenset({4, 8, 16, 32, 64})
"""Commits of a connection: who makes fewer is soon gone, and then SQLite begins the log anew."""

LOOK_EVERY: Final = 64  # commits

_BYTES_PER_COMMIT: Final = 16 * 4_120  # two to three times as many as a commit writes
_SPARE: Final = 16  # times what is then there is to be free on the disk
_LONG_BYTES: Final = 16_777_216


def lengthen(path: str, commits: int) -> None:
    """Make the log as long as twice so many commits will need.

    Args:
        path: of the session file, which is locked for writing.
        commits: how many its connection has begun.
    """
    with suppress(OSError):  # it is only for speed
        if disk_usage(path).free > _SPARE * commits * _BYTES_PER_COMMIT:
            with open(f"{path}-wal", "ab", buffering=0, opener=_open) as log:
                log.write(bytes(max(0, commits * _BYTES_PER_COMMIT - log.tell())))


def _open(path: str, flags: int) -> int:
    """Open a file that is there."""
    return os.open(path, flags & ~os.O_CREAT)


def is_long(path: str) -> bool:
    """Whether the log is so long that it should begin anew."""
    with suppress(OSError):
        return os.stat(f"{path}-wal").st_size >= _LONG_BYTES  # noqa: PTH116
    return False
