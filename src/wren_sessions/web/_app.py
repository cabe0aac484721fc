"""The app: its routes, and its error pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    InvalidSessionIdError,
    SessionExistsError,
    SessionExpiredError,
    SessionGoneError,
    SessionNotFoundError,
    StoreUnavailableError,
    WrenSessionsError,
)
from wren_sessions.protocols import SessionStore
from wren_sessions.viewing.states import FAULTS
from wren_sessions.web._acting import Acting
from wren_sessions.web._guard import Guard, Rules
from wren_sessions.web._index import Index
from wren_sessions.web._pages import Pages
from wren_sessions.web._render import Page, render
from wren_sessions.web._runs import Runs

_STATUS: Final[tuple[tuple[type[WrenSessionsError], int], ...]] = (
    (ConfigurationError, 400),
    (InvalidSessionIdError, 400),
    (SessionNotFoundError, 404),
    (SessionExpiredError, 404),
    (SessionGoneError, 404),
    (ConflictError, 409),
    (SessionExistsError, 409),
    (StoreUnavailableError, 503),
    *((kind, 422) for kind in FAULTS),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the app does.

    Attributes:
        write: whether sessions can be changed.
        graph: the graph that goes on after an answer; None for none.
        messages: what the list of messages is called.
        rules: who may ask.
    """

    write: bool = False
    graph: Any = None
    messages: str = "messages"
    rules: Rules = field(default_factory=Rules)


def build(store: SessionStore, settings: Settings) -> ASGIApp:
    """The app of a store."""
    graph = None
    if settings.graph is not None:
        from wren_sessions.langgraph.resuming import Resuming

        graph = Resuming(settings.graph, store)
    about = {
        "location": store.location,
        "write": settings.write,
        "answers": settings.write and graph is not None,
    }
    static = str(files("wren_sessions.web") / "static")

    def icon(_: Request) -> Response:  # for pages that name none, such as plain text
        return FileResponse(f"{static}/icon.svg")

    index, runs = Index(), Runs()
    pages = Pages(store, index, runs, settings.messages, about)
    routes: list[Route | Mount] = [
        Route("/", pages.sessions),
        Route("/inbox", pages.inbox),
        Route("/session", pages.session),
        Route("/history", pages.history),
        Route("/state", pages.state),
        Route("/diff", pages.diff),
        Route("/raw", pages.raw),
        Route("/export", pages.export),
        Route("/favicon.ico", icon),
        Mount("/static", StaticFiles(directory=static)),
    ]
    if settings.write:
        acting = Acting(store, index, runs, graph)
        routes += [
            Route(f"/{name}", getattr(acting, name), methods=["POST"])
            for name in ("answer", "again", "edit", "fork", "pin", "ttl", "delete")
        ]

    def failed(_: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            status, message = error.status_code, error.detail
        else:
            status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
            message = str(error)
        return Page(render("error.html", **about, status=status, message=message), status)

    starlette = Starlette(
        routes=routes,
        exception_handlers={WrenSessionsError: failed, HTTPException: failed},
    )
    return Guard(starlette, settings.rules)
