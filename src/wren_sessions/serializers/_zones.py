"""Time zones by name, from installed zone files. A name from stored data imports nothing."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from zoneinfo import TZPATH, ZoneInfo

from wren_sessions.errors import SerializationError

_NAME: Final = re.compile(r"[A-Za-z0-9_+-]{1,64}(/[A-Za-z0-9_+-]{1,64}){0,3}")


def zone(name: str) -> ZoneInfo:
    """The zone of a name.

    Raises:
        SerializationError: there is no such zone here; installing ``tzdata`` may help.
    """
    if not exists(name):
        raise SerializationError(
            "a stored time zone is not known on this system; install the package tzdata"
        )
    return ZoneInfo(name)


@lru_cache(1_024)
def exists(name: str) -> bool:
    """Whether there is a zone of a name here."""
    # `ZoneInfo` itself would import parts of tzdata by the name, whatever it is.
    if not _NAME.fullmatch(name):
        return False
    folders = [Path(path) for path in TZPATH]
    data = find_spec("tzdata")
    if data is not None and data.origin is not None:
        folders.append(Path(data.origin).parent / "zoneinfo")
    return any((folder / name).is_file() for folder in folders)
