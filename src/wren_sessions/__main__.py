"""``python -m wren_sessions``: the same as ``wren-sessions``."""

from __future__ import annotations

import sys

from wren_sessions.cli import main

if __name__ == "__main__":
    sys.exit(main())
