"""Logs a new connection in, with one trip to the server.

The driver sends the password, the names that ``CLIENT LIST`` shows and the number of the database
one after another, and waits for each answer. In a process that has just started, this takes a good
part of its first read. Here all of it is sent together, over RESP2, which needs no HELLO. If the
URL asks for RESP3, the driver logs in, and only the library's name is sent here.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import redis
from redis import exceptions as driver

from wren_sessions import __version__

PROTOCOL: Final = 2
_NAME: Final = f"redis-py(wren-sessions_v{__version__})"  # as the driver writes who builds on it


class _Step(NamedTuple):
    """A command of a login, and whether the connection may be used if the server refuses it."""

    command: tuple[Any, ...]
    optional: bool = False


def log_in(connection: Any) -> None:
    """Log in a blocking connection of the driver's, which has just been opened.

    Raises:
        Exception: one of the driver's; or what a provider of passwords raises.
    """
    if connection.protocol == PROTOCOL:
        connection._parser.on_connect(connection)  # noqa: SLF001 -- as the driver begins
        provider = connection.credential_provider
        steps = _steps(connection, provider.get_credentials() if provider else None)
    else:
        connection.on_connect()
        steps = _names(connection)
    connection.send_packed_command(_together(connection, steps), check_health=False)
    for step in steps:
        try:
            connection.read_response()
        except driver.ResponseError:
            if not step.optional:
                raise


async def alog_in(connection: Any) -> None:
    """See `log_in`."""
    if connection.protocol == PROTOCOL:
        connection._parser.on_connect(connection)  # noqa: SLF001 -- as the driver begins
        steps = _steps(connection, await _provided(connection.credential_provider))
    else:
        await connection.on_connect()
        steps = _names(connection)
    await connection.send_packed_command(_together(connection, steps), check_health=False)
    for step in steps:
        try:
            await connection.read_response()
        except driver.ResponseError:
            if not step.optional:
                raise


async def _provided(provider: Any) -> tuple[str, ...] | None:
    if not hasattr(provider, "get_credentials_async"):  # before 5.1
        return provider.get_credentials() if provider else None
    found: tuple[str, ...] = await provider.get_credentials_async()
    return found


def _steps(connection: Any, credentials: tuple[str, ...] | None) -> list[_Step]:
    """All of a login.

    Args:
        connection: what it is for; it may have a user name and a password itself.
        credentials: what somebody else gave: the user name and the password, or the password alone.
    """
    steps: list[_Step] = []
    user, password = connection.username, connection.password
    if credentials is None and (user or password):
        credentials = (user, password or "") if user else (password,)
    if credentials:
        steps.append(_Step(("AUTH", *credentials)))
    if connection.client_name:
        steps.append(_Step(("CLIENT", "SETNAME", connection.client_name)))
    steps += _names(connection)
    if connection.db:
        steps.append(_Step(("SELECT", connection.db)))
    return steps


def _names(connection: Any) -> list[_Step]:
    """Says which library this is, which servers know from Redis 7.2 on."""
    about = (
        getattr(connection, "driver_info", None) or connection
    )  # older ones have both themselves
    name = getattr(about, "formatted_name", None) or getattr(about, "lib_name", None) or _NAME
    version = getattr(about, "lib_version", None) or redis.__version__
    pairs = (("LIB-NAME", name), ("LIB-VER", version))
    return [_Step(("CLIENT", "SETINFO", *pair), optional=True) for pair in pairs]


def _together(connection: Any, steps: list[_Step]) -> list[bytes]:
    encode = connection.encoder.encode  # a password may have another encoding than UTF-8
    packed: list[bytes] = connection.pack_commands([map(encode, step.command) for step in steps])
    return packed
