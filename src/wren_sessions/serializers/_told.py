"""What reading a value tells besides the value, of one thread."""

from __future__ import annotations

import threading
from typing import Final


class _Told(threading.local):
    """Whether what this thread has read was migrated: then its next put writes it anew."""

    migrated = False


TOLD: Final = _Told()
