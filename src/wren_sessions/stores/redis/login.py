"""Logs a new connection in, with one trip to the server.

The driver sends the password, the names that ``CLIENT LIST`` shows and the number of the database
one after another, and waits for each answer. In a process that has just started, this takes as long
as its first read. Here all of it is sent together. The protocol is RESP2, which needs no word of
its own. A connection whose URL asks for another protocol logs in as the driver does.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from redis import exceptions as driver
from redis.credentials import UsernamePasswordCredentialProvider

from wren_sessions.stores.redis.wire import packed

PROTOCOL: Final = 2


class _Step(NamedTuple):
    """A command of a login, and whether the connection may be used if the server refuses it."""

    command: tuple[Any, ...]
    optional: bool = False


def log_in(connection: Any) -> None:
    """Log in a blocking connection of the driver's, which has just been opened.

    Raises:
        Exception: one of the driver's; or what a provider of passwords raises.
    """
    if connection.protocol != PROTOCOL:
        connection.on_connect()
        return
    connection._parser.on_connect(connection)  # noqa: SLF001 -- as the driver begins
    provider = _provider(connection)
    steps = _steps(connection, provider.get_credentials() if provider else ())
    if steps:
        connection.send_packed_command(_together(steps), check_health=False)
    for step in steps:
        try:
            connection.read_response()
        except driver.ResponseError:
            if not step.optional:
                raise


async def alog_in(connection: Any) -> None:
    """See `log_in`."""
    if connection.protocol != PROTOCOL:
        await connection.on_connect()
        return
    connection._parser.on_connect(connection)  # noqa: SLF001 -- as the driver begins
    provider = _provider(connection)
    steps = _steps(connection, await provider.get_credentials_async() if provider else ())
    if steps:
        await connection.send_packed_command(_together(steps), check_health=False)
    for step in steps:
        try:
            await connection.read_response()
        except driver.ResponseError:
            if not step.optional:
                raise


def _provider(connection: Any) -> Any:
    """Who knows the user name and the password; None if there are none."""
    if connection.credential_provider or not (connection.username or connection.password):
        return connection.credential_provider
    return UsernamePasswordCredentialProvider(connection.username, connection.password)


def _steps(connection: Any, credentials: tuple[str, ...]) -> list[_Step]:
    steps = [_Step(("AUTH", *credentials))] if credentials else []
    if connection.client_name:
        steps.append(_Step(("CLIENT", "SETNAME", connection.client_name)))
    about = getattr(connection, "driver_info", connection)  # older connections have both themselves
    name = getattr(about, "formatted_name", None) or getattr(about, "lib_name", None)
    for what, said in (("LIB-NAME", name), ("LIB-VER", getattr(about, "lib_version", None))):
        if said:
            steps.append(_Step(("CLIENT", "SETINFO", what, said), optional=True))
    if connection.db:
        steps.append(_Step(("SELECT", connection.db)))
    return steps


def _together(steps: list[_Step]) -> list[bytes]:
    return [b"".join([packed(step.command) for step in steps])]
