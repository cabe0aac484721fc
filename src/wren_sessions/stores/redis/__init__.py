"""Sessions on Redis or Valkey.

Follow one call: `store` has the methods. `commit`, `load` and `commands` say what each sends, and
read the answer (`listing` and `owned`, for lists); a `Plan` of `plans` is both. `threads` and
`tasks` send plans, alone or several in a trip (`trips`), and `cluster` finds the node for each.
`sequences` has calls that take several trips, and is the async API. `clients` makes the driver's
clients from URLs, `login` logs connections in, and `errors` says what the server's errors mean.
"""

from wren_sessions.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
