"""The folder of a session's files: a name for any id, on any file system. Pure.

A plain id, such as ``cli_20251108_145739``, is its own name. Other names are changed so that they
cannot lead to another folder, are valid on Windows, and are never shared by two ids, even where
upper and lower case are the same:

- separators, control characters and what Windows forbids are percent-encoded, as are a dot at
  either end and the first letter of a device's name (``con``, ``nul``, …);
- a name with letters that have another case, or are not ASCII, ends in ``~`` and a digest of the
  id; so does one that is too long, which is cut.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from wren_sessions.keys import check_session

MAX_NAME_BYTES: Final = 120
_PLAIN: Final = re.compile(r"(?:[a-z0-9_.+=@!#$&'();\-]|%[0-9A-F]{2})*")
_FORBIDDEN: Final = re.compile(r"[<>:\"/\\|?*~`\x00-\x1f\x7f]")
_DEVICES: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE
)
_DIGEST: Final = 16


def folder_name(session: str) -> str:
    """The name of a session's folder.

    Raises:
        InvalidSessionIdError: the session id is not valid.
    """
    name = _FORBIDDEN.sub(_percent, check_session(session))
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if name.endswith("."):
        name = f"{name[:-1]}%2E"
    if _DEVICES.match(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if _PLAIN.fullmatch(name) and len(name) <= MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(session.encode()).hexdigest()[:_DIGEST]
    cut = name.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    return f"{cut}~{digest}"


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode())
