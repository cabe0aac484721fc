"""A key-value service in this process, to try the store on: a dictionary with compare and set."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

_dictionaries: dict[str, Dictionary] = {}


def dictionary_at(url: str) -> Dictionary:
    """The dictionary of a URL; whoever asks for the same URL gets the same one."""
    return _dictionaries.setdefault(url, Dictionary(url))


class Dictionary:
    """A `kv_store.KeyValue` that holds its values itself.

    Args:
        location: what it calls itself.
    """

    persistent = False

    def __init__(self, location: str = "kv://") -> None:
        self.location = location
        self._values: dict[str, bytes] = {}
        self._lock = Lock()

    def get(self, key: str) -> bytes | None:
        """The value of a key, or None."""
        return self._values.get(key)

    def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        """Put `new` in the place of `old`, if that is there."""
        with self._lock:
            if self._values.get(key) != old:
                return False
            if new is None:
                self._values.pop(key, None)
            else:
                self._values[key] = new
            return True

    def keys(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        """The first keys after one of them."""
        with self._lock:
            names = sorted(key for key in self._values if key.startswith(prefix) and key > after)
        return names[:limit]
