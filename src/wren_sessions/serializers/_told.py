"""What reading a value reports besides the value, kept for each thread."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final


class _Told(threading.local):
    """What has happened to the values that this thread has read.

    Attributes:
        migrated: whether one of them was migrated. If so, the next put writes it again.
        anew: whether an object was written that keeps nothing aside, of a class of which others do.
        notes: what was migrated and kept aside, for who wants to know: a line, and what could be
            declared; None if nobody does.
    """

    migrated = False
    anew = False
    notes: dict[str, str] | None = None

    def migrates(self, name: str) -> None:
        """An object of a class is read in another form than it is stored in."""
        self.migrated = True
        if self.notes is not None:
            self.notes[f"a {name} is migrated"] = ""

    def keeps(self, name: str, fields: Iterable[str]) -> None:
        """Fields are kept aside, since the class does not have them."""
        if self.notes is not None:
            for field in fields:
                line = (
                    f'.field_removed("{name}", {field!r}), or .field_renamed("{name}", {field}=…)'
                )
                self.notes[f"a {name} was stored with {field!r}, which is kept aside"] = line


TOLD: Final = _Told()
