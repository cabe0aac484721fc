"""Characters that are not seen, or that change what is seen around them, made visible: pure.

Control characters, the marks that turn the direction of writing, and what has no width at all are
named, ``U+202E``. Newlines and tabs stay; so do the joiners that emoji and scripts are made with.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, without tab and newline
    "\xad\u115f\u1160\u17b4\u17b5\u180e"
    "\u200b\u2028\u2029\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff"  # half of a pair: no character at all
    "\U000e0000-\U000e0fff]"
)


def show_hidden(text: str, mark: Callable[[str], str] | None = None) -> str:
    """Text with such characters replaced by their names.

    Args:
        text: any text.
        mark: what to make of a name; by default it stands in angle brackets, ``⟨U+202E⟩``.
    """
    write = mark or "⟨{}⟩".format
    lines = text.replace("\r\n", "\n")
    return _HIDDEN.sub(lambda found: write(f"U+{ord(found.group()):04X}"), lines)
