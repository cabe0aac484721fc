"""The forms that change sessions, if changes are allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from wren_sessions._invisible import show_hidden
from wren_sessions.errors import ConfigurationError, ConflictError, WrenSessionsError
from wren_sessions.protocols import SessionStore
from wren_sessions.sessions import Sessions
from wren_sessions.viewing.states import Reader, Viewer
from wren_sessions.web._index import Index
from wren_sessions.web._offloop import OffLoop
from wren_sessions.web._render import link
from wren_sessions.web._runs import Runs
from wren_sessions.web._views import Question, questions_of

if TYPE_CHECKING:  # without a graph it takes no LangGraph
    from wren_sessions.langgraph.resuming import Resuming

MOST_BYTES: Final = 4 << 20  # of a form
MOST_FIELDS: Final = 1_000
_NO_LIMIT: Final = "none"


class Acting:
    """Changes the sessions of a store; `graph`, if there is one, goes on after an answer."""

    def __init__(
        self, store: SessionStore, index: Index, runs: Runs, graph: Resuming | None
    ) -> None:
        self._store = store
        self._index = index
        self._runs = runs
        self._graph = graph
        self._sessions = Sessions(store, cache_bytes=0)
        self._run = OffLoop(store)

    async def answer(self, request: Request) -> Response:
        """Answer a question; the graph goes on in the background."""
        form = await form_of(request)
        session, graph = form["id"], self._answering()
        writes = await self._run(lambda store: Reader(store).writes(session))
        asked = {question.id: question for question in questions_of(writes)}
        question = asked.get(form.get("question", ""))
        if question is None:
            raise ConflictError(
                f"session {session!r} no longer waits for this answer: load its page again",
                session=session,
            )
        answer = answer_of(question, form)
        self._runs.start(session, lambda: graph.answer(session, question.id, answer))
        return self._back(session)

    async def again(self, request: Request) -> Response:
        """Have a run that failed go on, in the background."""
        session, graph = (await form_of(request))["id"], self._answering()
        self._runs.start(session, lambda: graph.again(session))
        return self._back(session)

    def _answering(self) -> Resuming:
        if self._graph is None:
            raise ConfigurationError(
                "there is no graph to continue with: run wren-sessions web with --app module:graph"
            )
        return self._graph

    async def edit(self, request: Request) -> Response:
        """Change a plain value of the state, as a new checkpoint."""
        form = await form_of(request)
        session, key = form["id"], form.get("key", "")
        value = _json(form.get("value", ""))
        if self._graph is not None:
            try:
                await self._graph.update(session, {key: value})
            except WrenSessionsError:
                raise
            except Exception as error:  # the graph is the application's: anything may come of it
                raise HTTPException(422, f"The graph refused it: {error}") from error
        else:
            await self._run(_edit, session, key, value)
        return self._back(session, "state")

    async def fork(self, request: Request) -> Response:
        """Copy the session under a new id."""
        form = await form_of(request)
        new = form.get("new", "").strip()
        await self._run(_fork, form["id"], new, form.get("at") or None)
        return self._back(new)

    async def pin(self, request: Request) -> Response:
        """Keep the session for good, or let it expire again."""
        form = await form_of(request)
        await self._sessions.aio.pin(form["id"], pinned=form.get("pinned") == "1")
        return self._back(form["id"])

    async def ttl(self, request: Request) -> Response:
        """Give the session an idle timeout of its own."""
        form = await form_of(request)
        idle = form.get("idle", "").strip()
        await self._sessions.aio.set_ttl(form["id"], None if idle.lower() == _NO_LIMIT else idle)
        return self._back(form["id"])

    async def delete(self, request: Request) -> Response:
        """Delete the session, if its id was typed."""
        form = await form_of(request)
        session = form["id"]
        typed = form.get("confirm", "").strip()
        if typed not in {session, session.strip(), show_hidden(session)}:
            raise ConfigurationError(
                f"nothing was deleted: type the id of the session, {session!r}, to delete it"
            )
        await self._sessions.aio.delete(session)
        self._index.spoil()
        return RedirectResponse(link("./", done="deleted"), 303)

    def _back(self, session: str, page: str = "session") -> Response:
        self._index.spoil()
        return RedirectResponse(link(page, id=session), 303)


def _fork(store: SessionStore, session: str, new: str, at: str | None) -> None:
    exact = None if at is None else Reader(store).named(session, at)
    Sessions(store, serde=Viewer(), cache_bytes=0).fork(session, new, at=exact)


def _edit(store: SessionStore, session: str, key: str, value: Any) -> None:
    with Sessions(store, cache_bytes=0).edit(session) as found:
        if key not in found.state:
            raise ConflictError(
                f"the state of session {session!r} has no {key!r} any more: load its page again",
                session=session,
            )
        found.state[key] = value


def answer_of(question: Question, form: Mapping[str, str]) -> Any:
    """What a form answers: text, JSON, or a decision on each call.

    Raises:
        ConfigurationError: it is no JSON where it should be.
    """
    if question.calls:
        return {"decisions": [_decision(form, n, call) for n, call in enumerate(question.calls)]}
    text = form.get("answer", "")
    return _json(text) if form.get("json") == "1" else text


def _decision(form: Mapping[str, str], number: int, call: Mapping[str, Any]) -> dict[str, Any]:
    kind = form.get(f"decision-{number}", "")
    if kind == "approve":
        return {"type": "approve"}
    if kind == "edit":
        args = _json(form.get(f"args-{number}", ""))
        return {"type": "edit", "edited_action": {"name": call.get("name"), "args": args}}
    if kind == "reject":
        said = form.get(f"message-{number}", "").strip()
        return {"type": "reject"} | ({"message": said} if said else {})
    raise ConfigurationError(
        f"call {number + 1} was not decided on: choose approve, edit or reject for each"
    )


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_number)
    except (ValueError, RecursionError):
        raise ConfigurationError(
            f'{text[:80]!r} is not valid JSON: write text in double quotes, such as "fine"'
        ) from None


def _no_number(name: str) -> Any:
    raise ValueError(name)


def _number(text: str) -> float:
    return found if isfinite(found := float(text)) else _no_number(text)  # such as 1e999


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, the id of a session among them.

    Raises:
        HTTPException: it is too large, or no form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Only forms from these pages are accepted.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"A form may have {MOST_BYTES:,} bytes at most.")
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None
    form = {name: value.replace("\r\n", "\n") for name, value in pairs}
    if not form.get("id"):
        raise HTTPException(400, "The form names no session.")
    return form
