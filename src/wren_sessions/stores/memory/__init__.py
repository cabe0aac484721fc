"""Sessions in this process."""

from wren_sessions.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
