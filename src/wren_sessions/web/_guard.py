"""Who may ask, and what a browser may do with the answer.

Sessions are other people's conversations, and what is said in them comes from anywhere. So:

- **Host**: a name that is not this server's is refused; otherwise a web site whose name leads to
  this machine (DNS rebinding) would be of the same origin.
- **Token**: it stands in the address that was printed, and becomes a cookie that scripts cannot
  read and that other sites' requests do not carry (``HttpOnly``, ``SameSite=Strict``).
- **Origin**: another origin may lead here, and nothing else: it gets no part of a page, and
  whatever changes something has to come from a page of ours. Ports of one machine are of one site,
  so the cookie alone would not do.
- **Headers**: no script, style, picture or frame but our own, no address to other sites, no guess
  at types, nothing kept in caches.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SOURCES: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS: Final = {
    "Content-Security-Policy": "; ".join(" ".join(each) for each in _SOURCES.items()),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_SAFE: Final = frozenset({"GET", "HEAD"})
_OPEN: Final = ("/static/", "/favicon.ico")  # what is in the package anyway
# Not a redirect: a browser that followed a link of another site would send no cookie along.
_ENTERED: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Sessions</title>'
    '<meta http-equiv="refresh" content="0;url=./"><p><a href="./">Go to the sessions</a></p>'
)


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may ask.

    Attributes:
        token: what has to be known; None for nothing.
        hosts: the names of this server, with port; None for any.
        cookie: the cookie's name; cookies of one machine are shared between its ports.
    """

    token: str | None = None
    hosts: Collection[str] | None = None
    cookie: str = "wren_sessions"

    @property
    def ticket(self) -> str:
        """What the cookie holds: it shows that somebody knew the token, and is not the token."""
        return hashlib.sha256(f"wren-sessions cookie {self.token}".encode()).hexdigest()


class Guard:
    """Lets requests through to an app, or answers them."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    if name not in headers:
                        headers[name] = value
            await send(message)

        await (self._answer(scope) or self._app)(scope, receive, send_guarded)

    def _answer(self, scope: Scope) -> Response | None:
        """What to answer instead of the app; None where it may."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._rules.hosts is not None and host.lower() not in self._rules.hosts:
            return _refused(421, "This is not one of the server's names: use the printed address.")
        if _foreign(scope["method"], headers, host):
            return _refused(403, "This came from a page of another site, and was refused.")
        if self._rules.token is None:
            return None
        given = QueryParams(scope["query_string"]).get("token")
        if given is not None and secrets.compare_digest(
            given.encode("utf-8", "replace"), self._rules.token.encode()
        ):
            return self._entered(scope)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        ticket = cookie_parser(headers.get("cookie", "")).get(self._rules.cookie, "")
        if path.startswith(_OPEN) or secrets.compare_digest(
            ticket.encode("utf-8", "replace"), self._rules.ticket.encode()
        ):
            return None
        return _refused(
            401, "The token is missing or wrong: use the address that wren-sessions web printed."
        )

    def _entered(self, scope: Scope) -> Response:
        response = HTMLResponse(_ENTERED)
        response.set_cookie(
            self._rules.cookie,
            self._rules.ticket,
            path=f"{scope.get('root_path', '')}/",
            secure=scope["scheme"] == "https",
            httponly=True,
            samesite="strict",
        )
        return response


def _foreign(method: str, headers: Headers, host: str) -> bool:
    """Whether a request was made by another origin's page, other than by leading here."""
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if method in _SAFE:
        leads = headers.get("sec-fetch-mode") == "navigate"
        return site not in {None, "same-origin", "none"} and not (
            leads and headers.get("sec-fetch-dest") == "document"
        )
    if site is not None:
        return site != "same-origin"
    try:
        named = "" if origin is None else urlsplit(origin).netloc
    except ValueError:  # such as http://[
        return True
    return not named or named.lower() != host.lower()


def _refused(status: int, why: str) -> Response:
    return PlainTextResponse(f"{why}\n", status)
