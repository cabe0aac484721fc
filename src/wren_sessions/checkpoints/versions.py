"""Versions of channels: how they are counted and compared. Pure, no I/O.

LangGraph runs a node when a channel that triggers it has a version above the one that the node has
seen. It compares with ``>``. So the versions of a thread must be of one kind: numbers, or text that
begins with a counter, all counters of one width. A thread whose versions are of two kinds fails, or
worse: ``"0…04.x"`` with 32 digits is below ``"0000000003.y"``, no node runs, and what the user said
is lost without an error.

LangGraph's own savers, and its server, use text with a counter of 32 digits. So does this package.
The versions of one record are converted to one kind whenever it is read:

- **Stored** versions have a counter of 10 digits, which is shorter, and which version 0.1.0 wrote:
  see `codec`.
- **Read** versions are text with 32 digits, whatever the width was. Numbers stay numbers, unless
  the record has text too. Then they become text in the same order.
- **A saver that counts in its own way** (a subclass with its own ``get_next_version``) gets
  versions of the kind that it makes: see `Counter`.
- **Any other saver** continues in the kind that it finds. LangGraph may read several checkpoints of
  a thread for one run (a fork, and the latest one), and these may be of different kinds. So a saver
  returns all of them in the kind that it read or wrote first: see `langgraph.convert`.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Self, TypeAlias

from wren_sessions.errors import ConfigurationError

Version: TypeAlias = str | int | float

DIGITS: Final = 32
_ALPHABET: Final = string.ascii_letters + string.digits


def next_version(current: Any) -> Version:
    """The version after `current`: a counter, and 8 random characters that make forks differ.

    Args:
        current: the version now: one of these, another saver's (text that starts with a counter),
            or a number, after which comes a number; None for none.

    Raises:
        ConfigurationError: it is text that does not start with a counter.
    """
    if isinstance(current, int):
        return current + 1
    if isinstance(current, float):
        return float(int(current) + 1)
    counter = "0" if current is None else current.partition(".")[0]
    if not _is_counter(counter):
        raise ConfigurationError(
            f"cannot continue from the channel version {current!r}: it does not begin with a "
            "number; go on with the saver class that created it"
        )
    return f"{int(counter) + 1:032}.{''.join(random.choices(_ALPHABET, k=8))}"  # noqa: S311 -- no secret


def as_text(version: Any, digits: int = DIGITS) -> Any:
    """A version as text whose counter has so many digits; what does not count stays as it is."""
    if isinstance(version, int | float):
        return _number_as_text(version, digits)
    if not isinstance(version, str):
        return version
    counter, dot, rest = version.partition(".")
    if len(counter) == digits or not _is_counter(counter):
        return version
    return f"{counter.lstrip('0').zfill(digits)}{dot}{rest}"


def _number_as_text(number: float, digits: int) -> Version:
    if not 0 <= number < float("inf"):  # nobody counts like this
        return number
    whole, dot, rest = f"{Decimal(repr(number + 0)):f}".partition(".")
    return f"{whole.zfill(digits)}{dot}{rest}"


def _as_number(version: Version) -> Version:
    if not isinstance(version, str):
        return version
    counter, _, rest = version.partition(".")
    if not _is_counter(counter):
        return version
    return float(f"{int(counter)}.{rest}") if _is_counter(rest) else int(counter)


def _is_counter(text: str) -> bool:
    return text.isascii() and text.isdecimal()


@dataclass(frozen=True, slots=True)
class Counter:
    """The kind of versions that a saver makes.

    Attributes:
        digits: how many digits the counter has, in text; None for numbers.
    """

    digits: int | None

    @classmethod
    def of(cls, made: Any) -> Self:
        """The kind of a version that the saver made."""
        if not isinstance(made, str):
            return cls(None)
        counter = made.partition(".")[0]
        return cls(len(counter) if _is_counter(counter) else DIGITS)

    def version(self, version: Version) -> Version:
        """A version as one of this kind, in the same order as before."""
        if self.digits is None:
            return _as_number(version)
        text: Version = as_text(version, self.digits)
        return text

    def versions(self, versions: Mapping[str, Version]) -> dict[str, Version]:
        """The same for the version of each channel."""
        return {channel: self.version(version) for channel, version in versions.items()}


NUMBERS: Final = Counter(None)
TEXT: Final = Counter(DIGITS)
