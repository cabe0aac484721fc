"""The command ``wren-sessions``: see, keep, move and end sessions from a terminal.

`main` is the entry point. What a command finds out is plain data; `_screen` alone decides how it
looks, so ``--json`` and the terminal show the same. Text from a store reaches a terminal through
`_text`.

The commands are public, this package is not: import nothing from it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

USAGE: Final = 2
_NEEDED: Final = ("typer", "rich")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments without the program's name; None for those of the process.

    Returns:
        The exit code, see ``docs/reference/cli.md``.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        print(
            f"wren-sessions needs {' and '.join(missing)}, which the extra 'cli' brings: "
            "pip install 'wren-sessions[cli]'",
            file=sys.stderr,
        )
        return USAGE
    # What is imported stays: looking through it for garbage, again and again and once more at the
    # end of the process, takes a third of the time that `list` needs. `_command` turns the
    # collector on when the store is open.
    gc.disable()
    try:
        from wren_sessions.cli._app import run

        return run(sys.argv[1:] if argv is None else argv)
    finally:
        gc.enable()
        if argv is None:
            gc.freeze()
        else:
            gc.unfreeze()
