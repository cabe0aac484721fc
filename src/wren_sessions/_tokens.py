"""Tokens of commits: text that no other commit has, in any process. They are no secret.

A commit needs one each time, and asking the system for random bytes is a call into the kernel,
which takes 5 % of a put in memory. So they come from a generator that the system has seeded, anew
in each forked child. The clock is mixed in: a process that was copied as a whole, such as a
snapshot of a virtual machine, goes on with the same generator in each copy.
"""

from __future__ import annotations

import os
from binascii import b2a_base64
from random import Random
from time import time_ns
from typing import Final

_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_random: Final = Random()  # noqa: S311 -- unique, not secret
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


def new_token() -> str:
    """A new token: 11 characters, all of them letters, digits, ``-`` and ``_``."""
    bits = _random.getrandbits(64) ^ time_ns()
    return b2a_base64(bits.to_bytes(8, "big"))[:11].translate(_SAFE).decode()
