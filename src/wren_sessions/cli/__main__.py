"""``python -m wren_sessions.cli``: the same as ``wren-sessions``, as in 0.1.0."""

from __future__ import annotations

import sys

from wren_sessions.cli import main

if __name__ == "__main__":
    sys.exit(main())
