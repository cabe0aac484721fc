"""The Lua scripts. Each is a file of ``lua/``, after the parts that it shares with others.

Only ``_common.lua`` is put before `commit`, which is called most: the server executes the
definitions again in each call. Parts that `commit` seldom needs are inserted at a comment that
names them. So they are only defined when they are needed.

The last argument of every script is a nonce, and the first word of every reply is the same nonce.
So the answer to one call is never taken for the answer to another, even if answers were mixed up.
"""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Final


class Script:
    """A Lua file together with what it shares with others.

    Args:
        name: of the file, without its ending.

    Attributes:
        text: what the server runs.
        sha: by what the server knows it.
        with_key: how a command begins that runs it with one key. (The driver is quick with bytes.)
    """

    def __init__(self, name: str) -> None:
        self.name = name
        shared = ("_common",) if name == "commit" else _SHARED
        before = "".join([_lua(part) for part in shared])
        own = _PUT_IN.sub(lambda found: _lua(found[1]), _lua(name))
        self.text: str = f"{before}{_BEGIN}{own}{_END}"
        self.sha: str = sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        self.with_key: tuple[str, bytes, bytes] = ("EVALSHA", self.sha.encode(), b"1")


_SHARED: Final = ("_common", "_ends", "_ids", "_lives", "_records", "_logs", "_walks")
_BEGIN: Final = """local NONCE = table.remove(ARGV) .. ' '
local function answer()
"""
_END: Final = """end
-- A second result says that the nonce is in the first one: a long text is made once.
local reply, whole = answer()
if whole then return reply end
if type(reply) == 'string' then return NONCE .. reply end
reply[1] = NONCE .. reply[1]
return reply
"""
_FOLDER: Final = files(__package__) / "lua"
_PUT_IN: Final = re.compile(r"^ *-- Here comes (\w+)\.lua\.\n", re.MULTILINE)


@cache
def _lua(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text("utf-8")


@cache
def script(name: str) -> Script:
    """The script of that name, read once."""
    return Script(name)


for _name in ("load", "commit"):  # every app needs them: read as it starts, not in its first call
    script(_name)
