"""The server of ``wren-sessions web``: where it listens, and the address that it prints."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlencode

import uvicorn

from wren_sessions.errors import ConfigurationError
from wren_sessions.protocols import SessionStore
from wren_sessions.web._app import Settings, build
from wren_sessions.web._guard import Rules

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_TOKEN_BYTES: Final = 24
_SHORTEST: Final = 16  # characters of a token
_HTTP: Final = 80


class Listening(NamedTuple):
    """Where to listen, and who may ask.

    Attributes:
        host: the address to listen on.
        port: the port; 0 for any that is free.
        token: what has to be known; None for a random one.
        behind_proxy: whether a proxy stands before it, which decides who may ask.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    behind_proxy: bool = False


def check(listening: Listening) -> None:
    """Make sure that not everybody in the network can read the sessions.

    Raises:
        ConfigurationError: everybody could, or the token can be guessed.
    """
    if listening.token is not None and len(listening.token) < _SHORTEST:
        raise ConfigurationError(
            f"the token is too short to be safe: choose one of {_SHORTEST} characters or more"
        )
    if not (_is_loopback(listening.host) or listening.token or listening.behind_proxy):
        raise ConfigurationError(
            f"{listening.host} can be reached from other machines, and everybody there could read "
            "the sessions: add --token with a secret of your own, or --behind-proxy where a proxy "
            "has a login"
        )


def serve(
    store: SessionStore,
    settings: Settings,
    listening: Listening,
    ready: Callable[[str], None],
) -> None:
    """Serve the sessions of a store until Ctrl-C.

    Args:
        store: the store.
        settings: what the app does; its rules are made here.
        listening: where to listen.
        ready: called with the address, once it can be opened.

    Raises:
        ConfigurationError: it must not, or cannot, listen there.
    """
    check(listening)
    with listener_of(listening) as listener:
        server, address = server_of(store, settings, listening, listener)
        ready(address)
        server.run([listener])


def server_of(
    store: SessionStore, settings: Settings, listening: Listening, listener: socket.socket
) -> tuple[uvicorn.Server, str]:
    """A server, and the address by which it can be opened, with its token."""
    port = listener.getsockname()[1]
    rules = rules_of(listening, port)
    config = uvicorn.Config(
        build(store, replace(settings, rules=rules)),
        log_level="warning",
        access_log=False,  # it would write the token down
        server_header=False,
        lifespan="off",
        proxy_headers=listening.behind_proxy,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config), address_of(listening, port, rules)


def rules_of(listening: Listening, port: int) -> Rules:
    """Who may ask the server that listens there."""
    token = listening.token
    if token is None and not listening.behind_proxy:
        token = secrets.token_urlsafe(_TOKEN_BYTES)
    hosts: set[str] | None = None
    if not listening.behind_proxy and not _is_any(listening.host):
        names = {*LOOPBACK} if _is_loopback(listening.host) else set()
        names |= {_named(listening.host), socket.gethostname()}
        hosts = {f"{name}:{port}".lower() for name in names}
        hosts |= {name.lower() for name in names if port == _HTTP}
    return Rules(token=token, hosts=hosts, cookie=f"wren_sessions_{port}")


def address_of(listening: Listening, port: int, rules: Rules) -> str:
    """The address to open."""
    host = "127.0.0.1" if _is_any(listening.host) else _named(listening.host)
    query = "" if rules.token is None else f"?{urlencode({'token': rules.token})}"
    return f"http://{host}:{port}/{query}"


@contextmanager
def opener() -> Iterator[Callable[[str], None]]:
    """Opens an address in the browser of this machine.

    The address has a token in it, and everybody on this machine can see the arguments of the
    program that opens a browser. So that one is given a file that leads to the address, which only
    we can read, and which is deleted in the end.
    """
    with tempfile.TemporaryDirectory(prefix="wren-sessions-") as folder:

        def open_address(address: str) -> None:
            file = Path(folder, "open.html")
            leads = f'<meta http-equiv="refresh" content="0;url={escape(address)}">'
            file.write_text(f"<!doctype html>{leads}", "utf-8")
            webbrowser.open(file.as_uri())

        yield open_address


def listener_of(listening: Listening) -> socket.socket:
    """What listens there; a `ConfigurationError` if that cannot be."""
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    try:
        return socket.create_server((listening.host, listening.port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {listening.host} port {listening.port}: {error.strerror or error}; "
            "choose another --port, or leave it out for any that is free"
        ) from error


def _named(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host
