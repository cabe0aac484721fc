"""Sessions on Redis or Valkey."""

from wren_sessions.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
