"""Asking the app without a browser."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from starlette.testclient import TestClient

from wren_sessions.protocols import SessionStore
from wren_sessions.web._app import Settings, build
from wren_sessions.web._guard import Rules

HOST = "127.0.0.1:8000"
TOKEN = "a token that nobody guesses"
RULES = Rules(token=TOKEN, hosts={HOST}, cookie="wren_sessions_8000")
OURS = {"Origin": f"http://{HOST}"}


def client_of(store: SessionStore, *, known: bool = True, **settings: Any) -> TestClient:
    """A client of the app; it has the cookie if it is known."""
    app = build(store, Settings(rules=RULES, **settings))
    client = TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)
    if known:
        client.cookies.set(RULES.cookie, RULES.ticket)
    return client


def words(answer: Any) -> str:
    """What a page says, in one line."""
    body = answer.text.partition("<main")[2]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def send(client: TestClient, page: str, **fields: str) -> Any:
    """Send a form as a page of the app does."""
    return client.post(f"/{page}", data=fields, headers=OURS)
