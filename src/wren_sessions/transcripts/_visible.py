"""Makes characters visible that are invisible, or that change how the text around them looks: pure.

Control characters, marks that change the direction of writing, and characters without any width are
shown by name, ``U+202E``. Newlines and tabs stay, as do the joiners that emoji and scripts need.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from wren_sessions._invisible import INVISIBLE

# Controls without tab and newline, and what cannot be seen.
_HIDDEN: Final = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{INVISIBLE}]")


def show_hidden(text: str, mark: Callable[[str], str] | None = None) -> str:
    """Text with such characters replaced by their names, in angle brackets if `mark` is None."""
    write = mark or "⟨{}⟩".format
    lines = text.replace("\r\n", "\n")
    return _HIDDEN.sub(lambda found: write(f"U+{ord(found.group()):04X}"), lines)
