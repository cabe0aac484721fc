"""Encryption and compression around any store."""

from wren_sessions.stores.protected.store import ProtectedStore

__all__ = ["ProtectedStore"]
