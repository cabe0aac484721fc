"""The pages to look at. Their addresses have no folders, so links work below any mount.

A page has an entity tag for what it shows. A request with that tag, as ``live.js`` makes it, gets
an empty answer (304) if the page would be the same. For a session, this takes one look at its life.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from wren_sessions.archives import aexport_session, export_session
from wren_sessions.errors import ConfigurationError
from wren_sessions.protocols import SessionStore
from wren_sessions.records import SessionInfo
from wren_sessions.sessions.operations import not_found
from wren_sessions.transcripts import Transcript
from wren_sessions.viewing.overview import STATUSES, transcript_of
from wren_sessions.viewing.states import attempt
from wren_sessions.web import _histories, _trees, _views
from wren_sessions.web._index import Index, Query
from wren_sessions.web._offloop import OffLoop
from wren_sessions.web._render import Page, render
from wren_sessions.web._runs import Runs

_MOST_DIGITS: Final = 15
_DONE: Final = {"deleted": "The session was deleted."}
_EXPORTS: Final = {
    "html": ("text/html", Transcript.to_html),
    "md": ("text/markdown", Transcript.to_markdown),
    "json": ("application/json", Transcript.to_json),
}


class Pages:
    """The pages of a store; `about` is what all templates are given."""

    def __init__(
        self, store: SessionStore, index: Index, runs: Runs, messages: str, about: dict[str, Any]
    ) -> None:
        self._store = store
        self._index = index
        self._runs = runs
        self._messages = messages
        self._about = about
        self._run = OffLoop(store)

    # --- all sessions ---

    async def sessions(self, request: Request) -> Response:
        """The list."""
        given = request.query_params
        query = Query(
            text=given.get("q", "").strip(),
            status=given.get("status", "") if given.get("status") in STATUSES else "",
            after=_after(given.get("after")),
            owner=given.get("owner", "").strip(),
            tag=given.get("tag", "").strip(),
            whole=given.get("all") == "1",
        )
        found = await self._run(lambda store: self._index.find(store, query))
        following = _key_text(found.following)
        page = self._page(
            "sessions.html",
            done=_DONE.get(given.get("done", "")),
            query=query,
            found=found,
            following=following,
        )
        return _answer(request, page, _tag(page))

    async def inbox(self, request: Request) -> Response:
        """The sessions that wait for a person."""
        after = _after(request.query_params.get("after"))
        found, asking = await self._run(_views.inbox, self._index, after)
        following = _key_text(found.following)
        page = self._page("inbox.html", found=found, asking=asking, following=following)
        return _answer(request, page, _tag(page))

    # --- one session ---

    async def session(self, request: Request) -> Response:
        """Its conversation."""
        place = _Place(request)
        tag = await self._version(place)
        if _has(request, tag):
            return Response(status_code=304)
        head = await self._run(_views.head_of, place.session, place.at)
        until = place.number("until")
        said = await self._run(_views.conversation, place.session, head.at, until, self._messages)
        page = self._page("session.html", **self._above(place, head, "session"), said=said)
        return _answer(request, page, tag)

    async def history(self, request: Request) -> Response:
        """Its time line."""
        place = _Place(request)
        tag = await self._version(place)
        if _has(request, tag):
            return Response(status_code=304)
        head = await self._run(_views.head_of, place.session, None)
        before = place.text("before")
        steps = await self._run(
            lambda store: _histories.steps(
                store, place.session, place.namespace, before, internal=place.internal
            )
        )
        plots = await self._run(_histories.plots, place.session, place.namespace)
        page = self._page(
            "history.html", **self._above(place, head, "history"), steps=steps, plots=plots
        )
        return _answer(request, page, tag)

    async def state(self, request: Request) -> Response:
        """Its state as a tree."""
        place = _Place(request)
        head = await self._run(_views.head_of, place.session, None)
        path, start = place.text("path") or "", place.number("start") or 0
        found, fault = await self._run(
            lambda store: attempt(lambda: _trees.state_page(store, place.look, path, start))
        )
        page = self._page(
            "state.html", **self._above(place, head, "state"), found=found, fault=fault
        )
        return _answer(request, page, _tag(page))

    async def diff(self, request: Request) -> Response:
        """What differs between two of its checkpoints."""
        place = _Place(request)
        head = await self._run(_views.head_of, place.session, None)
        before, after = place.text("a") or "", place.text("b") or ""
        found, fault = await self._run(
            lambda store: attempt(lambda: _trees.differences(store, place.look, before, after))
        )
        page = self._page(
            "diff.html",
            **self._above(place, head, "history"),
            found=found,
            fault=fault,
            before=before,
            after=after,
        )
        return _answer(request, page, _tag(page))

    # --- files ---

    async def raw(self, request: Request) -> Response:
        """A message, or a part of the state, whole, as plain text."""
        place = _Place(request)
        number = place.number("message")
        if number is None:
            text = await self._run(_trees.raw_text, place.look, place.text("path") or "")
            return _plain(text)
        found = await self._run(transcript_of, place.session, place.at, self._messages)
        if number >= len(found.messages):
            not_found(place.session, f"message {number}")
        return _plain(found.messages[number].text)

    async def export(self, request: Request) -> Response:
        """A session as a file."""
        place = _Place(request)
        form = place.text("as") or "html"
        headers = {
            "Content-Disposition": f'attachment; filename="{file_name(place.session)}.{form}"'
        }
        if form == "jsonl":
            # Read to its end first: what is damaged or sealed gets a page, not half a file.
            await self._run(lambda store: deque(export_session(store, place.session), maxlen=0))
            lines = aexport_session(self._store, place.session)
            return StreamingResponse(lines, headers=headers, media_type="application/jsonl")
        if form not in _EXPORTS:
            raise ConfigurationError(
                f"sessions are exported as html, md, json or jsonl, not {form!r}"
            )
        kind, write = _EXPORTS[form]
        text = await self._run(
            lambda store: write(
                transcript_of(store, place.session, place.at, self._messages)
            ).encode("utf-8", "replace")
        )
        return Response(text, headers=headers, media_type=kind)

    # --- parts ---

    async def _version(self, place: _Place) -> str:
        """The tag of a page of a session: another one once it was written, or runs."""
        info: SessionInfo | None = await self._store.aio.info(place.session)
        if info is None:
            not_found(place.session)
        life = info.life
        run = self._runs.state(place.session)
        written = (life.incarnation, life.revision, info.notes)
        known = (*written, life.pinned, life.deadline_ms is None, run)
        return _tag(repr((known, str(place.request.query_params))))

    def _above(self, place: _Place, head: _views.Head, tab: str) -> dict[str, Any]:
        """What stands above a page of a session."""
        return {
            "head": head,
            "id": place.session,
            "place": place,
            "tab": tab,
            "run": self._runs.state(place.session),
        }

    def _page(self, template: str, **values: Any) -> str:
        return render(template, **self._about, **values)


class _Place:
    """What a request asks for: a session, perhaps a checkpoint and a namespace."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.session = self.text("id") or ""
        self.at = self.text("at")
        self.namespace = self.text("ns") or ""
        self.internal = self.text("internal") == "1"
        if not self.session:
            raise ConfigurationError("the address names no session: add ?id= and its id")

    @property
    def look(self) -> _trees.Look:
        return _trees.Look(self.session, self.at, self.namespace, self.internal)

    def text(self, name: str) -> str | None:
        return self.request.query_params.get(name) or None

    def number(self, name: str) -> int | None:
        text = self.text(name)
        return None if text is None else _number(text)


def _number(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS:
        return int(text)
    raise ConfigurationError(f"{text[:40]!r} is not a number, and the address needs one there")


def _after(text: str | None) -> tuple[int, str] | None:
    if not text:
        return None
    updated, _, session = text.partition(".")
    return -_number(updated), session


def _key_text(key: tuple[int, str] | None) -> str:
    return "" if key is None else f"{-key[0]}.{key[1]}"


def file_name(session: str) -> str:
    """What a file of a session is called, on any system."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in session)
    return PurePath(name[:100]).name.strip(".") or "session"


def _tag(text: str) -> str:
    return f'"{blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()}"'


def _has(request: Request, tag: str) -> bool:
    return request.headers.get("if-none-match") == tag


def _answer(request: Request, page: str, tag: str) -> Response:
    if _has(request, tag):
        return Response(status_code=304)
    return Page(page, headers={"ETag": tag})


def _plain(text: str) -> Response:
    return PlainTextResponse(text.encode("utf-8", "replace"))
