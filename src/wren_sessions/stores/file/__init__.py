"""Sessions in one SQLite file."""

from wren_sessions.stores.file.store import FileStore

__all__ = ["FileStore"]
