"""Facts about a server: its kind, role, configuration, and what it refuses.

It changes nothing, and a refusal is not an error. The kind follows from fields of INFO that only
that kind has. A proxy may not know INFO: then it follows from the way of refusing. Whether the
commands that sessions need exist and are allowed is tried with a key that does not exist, in
scripts, because scripts call them. Scripts that may only read are used if the server has them.

Facts: ``server``, ``version``, ``service`` (the cloud's name for it), ``database``, ``role``,
``cluster``, ``primaries``, ``replicas``, ``slots`` (how many have an owner), ``policy``,
``used_bytes``, ``max_bytes``, ``evicted``, ``clients``, ``aof``, ``rdb`` (whether it saves by
itself), ``saved`` (whether the last save went well), ``keys`` in the database, ``elsewhere`` (the
other databases that have keys), ``clock_ms`` (how far its clock is ahead of ours), ``refused``
(what it said to INFO), ``denied``, ``missing`` (commands) and ``scripts`` (why it runs none).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis
from redis import exceptions as driver

from wren_sessions.stores._diagnosis import Fact
from wren_sessions.stores.redis.clients import RAW
from wren_sessions.stores.redis.errors import DRIVER_ERRORS

# A field of INFO that one kind of server has, and what that kind is called; the first that fits.
_KINDS: Final = (
    ("dragonfly_version", "Dragonfly"),
    ("garnet_version", "Garnet"),
    ("kvrocks_version", "Kvrocks"),
    ("upstash_version", "Upstash"),
    ("valkey_version", "Valkey"),
    ("mvcc_depth", "KeyDB"),
)
# An Envoy that answers INFO, as newer ones do, looks like the servers behind it.
_PROXIES: Final = (("unsupported command", "Envoy"), ("invalid request", "Envoy"))
_CLOUDS: Final = ("ElastiCache", "MemoryDB")

_KEY: Final = "KEY"
# What scripts and calls send, in a form that changes nothing where there is no such key.
NEEDED: Final[tuple[tuple[str, ...], ...]] = (
    ("HGET", _KEY, "f"),
    ("HMGET", _KEY, "f"),
    ("HGETALL", _KEY),
    ("HKEYS", _KEY),
    ("HLEN", _KEY),
    ("HSTRLEN", _KEY, "f"),
    ("HEXISTS", _KEY, "f"),
    ("HDEL", _KEY, "f"),
    ("EXISTS", _KEY),
    ("TYPE", _KEY),
    ("PTTL", _KEY),
    ("PERSIST", _KEY),
    ("PEXPIREAT", _KEY, "1"),
    ("UNLINK", _KEY),
    ("DUMP", _KEY),
    ("RESTORE", _KEY, "0", ""),
    ("TIME",),
    ("ZCOUNT", _KEY, "0", "+inf"),
    ("ZRANGE", _KEY, "0", "0"),
    ("ZREM", _KEY, "m"),
    ("ZREVRANGEBYSCORE", _KEY, "0", "0"),
    ("ZSCORE", _KEY, "m"),
)
# Only tried by scripts that may not write.
WRITING: Final[tuple[tuple[str, ...], ...]] = (
    ("HSET", _KEY, "f", "v"),
    ("ZADD", _KEY, "0", "m"),
)
WELCOME: Final[tuple[tuple[str, ...], ...]] = (
    ("COPY", _KEY, _KEY),
    ("MEMORY", "USAGE", _KEY),
    ("PEXPIRETIME", _KEY),
)
DIRECT: Final = (("EVALSHA", "0" * 40, "0"), ("SCAN", "0", "COUNT", "1"))
_SCRIPT: Final = (
    "local found = redis.pcall((unpack or table.unpack)(ARGV)) "
    "return type(found) == 'table' and found.err or 'it did not complain'"
)
_TRY: Final = (_SCRIPT, "1")
_DENIED: Final = ("no permissions", "noperm", "can't run this command")
_KEYS: Final = ("access a key", "access one of the keys")
_UNKNOWN: Final = ("unknown", "unsupported", "not supported", "not allowed from script")
_MEMORY: Final = ("used_bytes", "max_bytes")


def facts_of(client: redis.Redis, key: str) -> dict[str, Fact]:
    """Ask a server about itself.

    Args:
        client: reaches it.
        key: the key of a session that is not there.
    """
    database = int(client.connection_pool.connection_kwargs.get("db") or 0)
    facts: dict[str, Fact | None] = {"database": database, "clock_ms": _clock_ms(client)}
    try:
        told: Any = client.info()
        info = {str(name): value for name, value in told.items()}
    except DRIVER_ERRORS as error:
        facts |= _of_refusal(error)
    else:
        facts |= _of_info(client, info, database)
    facts |= _of_commands(client, key)
    return {name: fact for name, fact in facts.items() if fact is not None}


def _of_refusal(error: Exception) -> dict[str, Fact | None]:
    """What follows from an INFO that was refused: a user of few rights, or a proxy."""
    text = str(error)
    lower = text.lower()
    if any(sign in lower for sign in _DENIED):
        return {}
    proxy = next((name for sign, name in _PROXIES if sign in lower), None)
    if proxy is None and isinstance(error, driver.ConnectionError):
        proxy = "twemproxy"  # hangs up on what it does not know
    return {"server": f"a proxy ({proxy})" if proxy else "a proxy", "refused": text}


def _of_info(client: redis.Redis, info: Mapping[str, Any], database: int) -> dict[str, Fact | None]:
    saves: bool | None = None  # whether it writes snapshots; it may not say
    try:
        points: Any = client.config_get("save")
        saves = any(points.values()) if points else None
    except DRIVER_ERRORS:
        pass
    kind, version = _kind_of(info)
    aof, keyspace = _number(info.get("aof_enabled")), info.get(f"db{database}")
    system = str(info.get("os", ""))
    return {
        "server": kind,
        "version": version,
        "service": next((name for name in _CLOUDS if name in system), None),
        "role": _text(info.get("role")),
        "replicas": _number(info.get("connected_slaves")),
        "cluster": bool(info.get("cluster_enabled")),
        "policy": _text(info.get("maxmemory_policy")),
        "used_bytes": _number(info.get("used_memory")),
        "max_bytes": _number(info.get("maxmemory")),
        "evicted": _number(info.get("evicted_keys")),
        "clients": _number(info.get("connected_clients")),
        "aof": None if aof is None else bool(aof),
        "rdb": saves,
        "saved": info.get("rdb_last_bgsave_status", "ok") == "ok",
        "keys": int(keyspace.get("keys", 0)) if isinstance(keyspace, dict) else 0,
        "elsewhere": _elsewhere(info, database),
    }


def _kind_of(info: Mapping[str, Any]) -> tuple[str, str | None]:
    """What a server is called, and its own version: many name that of a Redis, too."""
    version = _text(info.get("redis_version"))
    if info.get("RedisMode") == "proxy":  # its Name is what the configuration calls it
        return "a proxy (predixy)", _text(info.get("Version"))
    for field, kind in _KINDS:
        if field in info:
            own = _text(info[field]) if field.endswith("_version") else version
            return kind, own.lstrip("dfv-") if own else None
    if info.get("server_name") == "valkey":
        return "Valkey", version
    if "keydb" in str(info.get("executable", "")).lower():
        return "KeyDB", version
    return ("Redis" if version else "unknown"), version


def _elsewhere(info: Mapping[str, Any], database: int) -> str | None:
    others = [
        f"{name.removeprefix('db')} ({found.get('keys')} keys)"
        for name, found in info.items()
        if name.startswith("db") and isinstance(found, dict) and name != f"db{database}"
    ]
    return ", ".join(others) or None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _clock_ms(client: redis.Redis) -> int | None:
    """How far the server's clock is ahead of this machine's, half a round trip allowed for."""
    try:
        before = time.time()
        seconds, micros = client.time()
        after = time.time()
    except (*DRIVER_ERRORS, TypeError, ValueError):
        return None
    now = int(seconds) + int(micros) % 1_000_000 / 1e6  # Envoy gives all microseconds since 1970
    return round((now - (before + after) / 2) * 1_000)


# --- commands -------------------------------------------------------------------------------------


def _of_commands(client: redis.Redis, key: str) -> dict[str, Fact | None]:
    """Which commands are refused; most are called by a script that does nothing else."""
    way, tried = "EVAL_RO", (*NEEDED, *WRITING, *WELCOME)
    first = _answered(client, (way, *_TRY, key, "PING"), key)
    if isinstance(first, Exception):  # an older server, or too few rights for that
        way, tried = "EVAL", (*NEEDED, *WELCOME)
        first = _answered(client, (way, *_TRY, key, "PING"), key)
    if isinstance(first, driver.AskError) or _is(first, _KEYS):
        return {}  # another node has that slot; or reading a session will tell
    if isinstance(first, Exception) and not _is(first, _DENIED):
        return {"scripts": str(first)}
    found = {
        **{one[0]: _answered(client, one, key) for one in DIRECT},
        "EVAL": first,
        **{
            " ".join(one).partition(f" {_KEY}")[0]: _answered(client, (way, *_TRY, key, *one), key)
            for one in tried
        },
    }
    return {
        "denied": ", ".join(name for name in found if _is(found[name], _DENIED)) or None,
        "missing": ", ".join(name for name in found if _is(found[name], _UNKNOWN)) or None,
    }


def _answered(client: redis.Redis, command: Sequence[str], key: str) -> object:
    """What a command gave, or the error that it was; a script gives the error of what it calls."""
    try:
        return client.execute_command(*(key if part == _KEY else part for part in command), **RAW)
    except DRIVER_ERRORS as error:
        return error


def _is(answer: object, signs: Sequence[str]) -> bool:
    if not isinstance(answer, bytes | str | Exception):
        return False  # the reply to a command that was called directly
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
    return any(sign in text.lower() for sign in signs)


# --- several servers ------------------------------------------------------------------------------


def of_slots(reply: Any) -> dict[str, Fact]:
    """What CLUSTER SLOTS says of the cluster as a whole."""
    primaries, replicas, slots = set(), set(), 0
    for low, high, primary, *others in reply:
        slots += int(high) - int(low) + 1
        primaries.add((primary[0], primary[1]))
        replicas |= {(one[0], one[1]) for one in others}
    return {"primaries": len(primaries), "replicas": len(replicas), "slots": slots}


def together(nodes: Sequence[Mapping[str, Fact]]) -> dict[str, Fact]:
    """The facts of a cluster: of each kind those of the node that is worst off."""
    fullest = max(nodes, key=_fullness)
    furthest = max(nodes, key=lambda facts: abs(_whole(facts, "clock_ms")))
    found = {**nodes[0], **{name: fullest[name] for name in _MEMORY if name in fullest}}
    if "clock_ms" in furthest:
        found["clock_ms"] = furthest["clock_ms"]
    for name in ("evicted", "keys", "replicas"):
        if all(name in facts for facts in nodes):
            found[name] = sum(_whole(facts, name) for facts in nodes)
    for name in ("aof", "rdb", "saved"):
        if all(name in facts for facts in nodes):
            found[name] = all(facts[name] for facts in nodes)
    for name in ("policy", "version", "denied", "missing"):
        if each := {str(facts[name]) for facts in nodes if facts.get(name)}:
            found[name] = " and ".join(sorted(each))
    return found


def _whole(facts: Mapping[str, Fact], name: str) -> int:
    value = facts.get(name)
    return int(value) if isinstance(value, int) else 0


def _fullness(facts: Mapping[str, Fact]) -> float:
    return _whole(facts, "used_bytes") / (_whole(facts, "max_bytes") or float("inf"))
