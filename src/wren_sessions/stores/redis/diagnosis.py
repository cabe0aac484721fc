"""The kind and configuration of a server, or why it cannot be reached. It changes nothing.

A driver reports most problems as a lost connection. So if no session command gets through, this
module looks up the address, opens the port, and sends a PING as plain text and over TLS. The result
tells a wrong host from a closed port, and a missing ``s`` in ``rediss://`` from a web server.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from wren_sessions.stores._diagnosis import Diagnosis, Trouble
from wren_sessions.stores.redis.clients import RAW, Fleet
from wren_sessions.stores.redis.cluster import Slots
from wren_sessions.stores.redis.errors import DRIVER_ERRORS, meaning_of, text_of
from wren_sessions.stores.redis.facts import facts_of, of_slots, together

_PING: Final = b"PING\r\n"
_REDIS_SIGNS: Final = (b"+PONG", b"-NOAUTH", b"-DENIED", b"-ERR", b"-LOADING", b"-MASTERDOWN")
_SENT_AWAY: Final = "certificate required"  # why a server hangs up on whom it has shaken hands with
_WAIT_S: Final = 5.0
_ANSWER_S: Final = 1.0  # the server was given more time than this before


def diagnose(client: redis.Redis, key: str) -> Diagnosis:
    """Ask a server about itself; where it does not answer, find out why.

    Args:
        client: reaches it.
        key: the key of a session that is not there.
    """
    error = _refusal_of(client)
    if error is not None:
        return _explained(client, error)
    facts = facts_of(client, key)
    pool: Any = client.connection_pool
    if hasattr(pool, "sentinel_manager"):
        facts["sentinels"] = len(pool.sentinel_manager.sentinels)
    return Diagnosis("redis", facts=facts)


def diagnose_cluster(fleet: Fleet[redis.Redis], key: str) -> Diagnosis:
    """Ask all primaries of a cluster; or find out why no node answers."""
    *others, last = (fleet.client(seed) for seed in fleet.seeds)
    client = next((one for one in others if _refusal_of(one) is None), last)
    error = _refusal_of(client)
    if error is not None:
        return _explained(client, error)
    try:
        slots: Any = client.execute_command("CLUSTER", "SLOTS", **RAW)
    except DRIVER_ERRORS as refused:
        return Diagnosis("redis", "rights" if "perm" in str(refused) else "other", str(refused))
    kwargs = client.connection_pool.connection_kwargs
    asked = Slots(slots, (kwargs["host"], kwargs["port"]), fleet.remap)
    clients = [fleet.client(one) for one in asked.primaries]
    each = [facts_of(one, key) for one in clients if _refusal_of(one) is None]
    facts = {**of_slots(slots), **together(each or [{}]), "silent": len(clients) - len(each)}
    told = {name: fact for name, fact in facts.items() if name not in {"cluster", "role"}}
    return Diagnosis("redis", facts=told)


def _refusal_of(client: redis.Redis) -> Exception | None:
    """Why a server does not even answer a PING; None if it does. It is asked only once."""
    pool = client.connection_pool
    options = dict(pool.connection_kwargs)
    for wait in ("socket_timeout", "socket_connect_timeout"):
        options[wait] = min(options.get(wait) or _WAIT_S, _WAIT_S)
    connection = pool.connection_class(**options)
    connection.retry = Retry(NoBackoff(), 0)
    try:
        connection.connect()
        connection.send_command("PING")
        connection.read_response()
    except DRIVER_ERRORS as error:
        return error
    finally:
        connection.disconnect()
    return None


# --- a server that does not -----------------------------------------------------------------------


def _explained(client: redis.Redis, error: Exception) -> Diagnosis:
    text, meaning = text_of(error), meaning_of(error)
    pool = client.connection_pool
    options = pool.connection_kwargs
    if meaning is not None and meaning.trouble is not None:
        return Diagnosis("redis", meaning.trouble, text)
    if "path" in options:
        return Diagnosis("redis", "socket", text)
    if hasattr(pool, "sentinel_manager"):
        return Diagnosis("redis", "sentinel", text)
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
        raw.settimeout(_ANSWER_S)
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
    with suppress(TimeoutError, ConnectionError):
        connection.sendall(_PING)
        return connection.recv(64)
    return b""
