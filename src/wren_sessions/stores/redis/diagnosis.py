"""What kind of server this is and how it is set up, or why it cannot be reached. It only asks.

A driver reports most troubles as a lost connection. So where no session command gets through, the
address is looked up, the port is opened, and a PING is sent as plain text and over TLS: what comes
back tells a wrong host from a closed port, and a missing ``s`` in ``rediss://`` from a web server.

Facts: ``server``, ``version``, ``database``, ``role``, ``cluster``, ``policy``, ``used_bytes``,
``max_bytes``, ``evicted``, ``clients``, ``aof``, ``rdb`` (whether it saves by itself), ``saved``
(whether the last save went well), ``keys`` in the database, and ``elsewhere``, the other databases
that have keys.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import redis
from redis import exceptions as driver

from wren_sessions.stores._diagnosis import Diagnosis, Fact, Trouble

_PING: Final = b"PING\r\n"
_REDIS_SIGNS: Final = (b"+PONG", b"-NOAUTH", b"-DENIED", b"-ERR", b"-LOADING", b"-MASTERDOWN")
_SENT_AWAY: Final = "certificate required"  # why a server hangs up on whom it has shaken hands with
_WAIT_S: Final = 5.0

# What the server or the driver says, and what that means; the first that fits.
_SIGNS: Final[tuple[tuple[str, Trouble], ...]] = (
    ("invalid username-password", "password"),
    ("invalid password", "password"),
    ("without any password configured", "password"),
    ("noauth", "no-password"),
    ("client already authenticated", "no-password"),
    ("authentication required", "no-password"),
    ("noperm", "rights"),
    ("no permissions", "rights"),
    ("user executing the script", "rights"),
    ("db index is out of range", "database"),
    ("select is not allowed", "database"),
    ("certificate verify failed", "certificate"),
)


def diagnose(client: redis.Redis) -> Diagnosis:
    """Ask a server about itself; where it does not answer, find out why."""
    try:
        client.execute_command("PING")
    except (driver.RedisError, OSError) as error:
        return _explained(client, error)
    return Diagnosis("redis", facts=_facts(client))


def diagnose_cluster(clients: Sequence[redis.Redis]) -> Diagnosis:
    """Ask the first node of a cluster that answers; or find out why the last one does not."""
    *others, last = clients
    found = (diagnosis for one in others if (diagnosis := diagnose(one)).trouble is None)
    diagnosis = next(found, None) or diagnose(last)
    told = {name: fact for name, fact in diagnosis.facts.items() if name not in {"cluster", "role"}}
    return replace(diagnosis, facts=told)


# --- a server that answers ------------------------------------------------------------------------


def _facts(client: redis.Redis) -> dict[str, Fact]:
    database = int(client.connection_pool.connection_kwargs.get("db") or 0)
    info: Mapping[str, Any] = {}
    with suppress(driver.RedisError):  # a limited user may not ask
        found: Any = client.info()
        info = {str(name): value for name, value in found.items()}
    if not info:
        return {"database": database}
    saves: bool | None = None  # whether it writes snapshots; it may not say
    with suppress(driver.RedisError):
        points: Any = client.config_get("save")
        saves = any(points.values()) if points else None
    aof, keyspace = _number(info.get("aof_enabled")), info.get(f"db{database}")
    facts: dict[str, Fact] = {
        "server": _server(info),
        "version": _text(info.get("valkey_version") or info.get("redis_version")),
        "database": database,
        "role": _text(info.get("role")),
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
    return {name: fact for name, fact in facts.items() if fact is not None}


def _server(info: Mapping[str, Any]) -> str:
    if "dragonfly_version" in info:
        return "Dragonfly"
    if info.get("server_name") == "valkey" or "valkey_version" in info:
        return "Valkey"
    return "KeyDB" if "keydb" in str(info.get("executable", "")).lower() else "Redis"


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


# --- a server that does not -----------------------------------------------------------------------


def _explained(client: redis.Redis, error: Exception) -> Diagnosis:
    text = str(error)
    told = next((trouble for sign, trouble in _SIGNS if sign in text.lower()), None)
    pool = client.connection_pool
    options = pool.connection_kwargs
    if told is not None:
        return Diagnosis("redis", told, text)
    if "path" in options:
        return Diagnosis("redis", "socket", text)
    if hasattr(pool, "sentinel_manager"):
        return Diagnosis("redis", "sentinel", text.partition(" : <")[0])
    tls = "SSL" in pool.connection_class.__name__
    trouble, detail = _probed(
        str(options.get("host") or "localhost"), int(options.get("port") or 6379), tls=tls
    )
    return Diagnosis("redis", trouble, detail or text)


def _probed(host: str, port: int, *, tls: bool) -> tuple[Trouble, str]:
    """What stands behind a host and a port."""
    try:
        plain = _reply(host, port, tls=False)
    except socket.gaierror as error:
        return "host", str(error.strerror or error)
    except ConnectionRefusedError as error:
        return "refused", str(error.strerror or error)
    except TimeoutError:
        return "timeout", "no connection in time"
    except OSError as error:
        return "network", str(error.strerror or error)
    if plain.startswith(_REDIS_SIGNS):
        return ("no-tls", "it answers plain text") if tls else ("other", "")
    return _probed_tls(host, port, plain, tls=tls)


def _probed_tls(host: str, port: int, plain: bytes, *, tls: bool) -> tuple[Trouble, str]:
    try:
        _reply(host, port, tls=True)
    except ssl.SSLError as error:
        if _SENT_AWAY in str(error).lower():
            # Who has no TLS yet needs that first.
            return ("certificate" if tls else "wants-tls"), "it wants a certificate of the client"
        return ("timeout", "it took the connection, and said nothing") if not plain else _other()
    except TimeoutError:
        return "timeout", "it took the connection, and said nothing"
    except OSError:
        return _other()
    return ("certificate", "the TLS handshake did not succeed") if tls else ("wants-tls", "")


def _other() -> tuple[Trouble, str]:
    return "not-redis", "what answers there speaks another protocol"


def _reply(host: str, port: int, *, tls: bool) -> bytes:
    """What a PING in plain text gives; empty if the connection is closed or stays silent."""
    with socket.create_connection((host, port), timeout=_WAIT_S) as raw:
        if not tls:
            return _asked(raw)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # who it is does not matter here, and nothing is told to it
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(raw, server_hostname=host) as wrapped:
            try:
                return _asked(wrapped)
            except ssl.SSLEOFError as error:  # the connection went before the reason came
                raise ssl.SSLError(_SENT_AWAY) from error


def _asked(connection: socket.socket) -> bytes:
    connection.settimeout(1.0)
    with suppress(TimeoutError, ConnectionError):
        connection.sendall(_PING)
        return connection.recv(64)
    return b""
