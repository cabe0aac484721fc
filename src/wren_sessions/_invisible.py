"""The one table of invisible characters, and of those that change how the text around them looks.

Control characters are not in it: whether newlines and tabs stay depends on where a text is shown.
The joiners that emoji and some scripts need are not in it either. `show_hidden` shows the others,
and controls, by name: ``U+202E``. Newlines and tabs stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

INVISIBLE: Final = (
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"  # soft hyphen, joiners of no use, fillers
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"  # no width, direction, separators of lines
    "\u3164\ufeff\uffa0\ufff0-\ufffb"  # fillers, byte order mark, annotations
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # shorthand, music, tags
    "\ud800-\udfff"  # halves of pairs, which no stream can encode
)
"""For a character class of `re`."""

# Controls without tab and newline, and what cannot be seen.
_HIDDEN: Final = f"[\x00-\x08\x0b-\x1f\x7f-\x9f{INVISIBLE}]"


def show_hidden(text: str, mark: Callable[[str], str] | None = None) -> str:
    """Text with hidden characters replaced by their names, in angle brackets if `mark` is None."""
    write = mark or "⟨{}⟩".format
    lines = text.replace("\r\n", "\n")
    return re.sub(_HIDDEN, lambda found: write(f"U+{ord(found.group()):04X}"), lines)
