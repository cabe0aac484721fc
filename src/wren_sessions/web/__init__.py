"""Sessions in a browser: an ASGI app on any store, and the server of ``wren-sessions web``.

`app` makes the app, to be mounted in an app of one's own or served by itself::

    api.mount("/sessions", wren_sessions.web.app(store))  # behind the login of `api`

How a page is made: its route (`_pages`, `_acting`) asks `OffLoop` to run a function of `_views` in
a thread, where decoding holds up nobody; what that function asks of the store is awaited in the
event loop, on ``store.aio``. The function gives plain data, and a template makes HTML of it
(`_render`), which escapes everything. `Guard` stands before all of it: it decides who may ask, and
says in headers what a browser may do with an answer.

Pages need no script. ``static/live.js`` only asks for the page again, with the tag of the one it
has, and puts in what is new; where nothing is new the answer is empty.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from wren_sessions._arguments import check_store
from wren_sessions.errors import ConfigurationError
from wren_sessions.protocols import SessionStore

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_NEEDED: Final = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "jinja2": "jinja2",
    "markdown_it": "markdown-it-py",
}


def app(
    store: SessionStore,
    *,
    write: bool = False,
    graph: Any = None,
    messages: str = "messages",
) -> ASGIApp:
    """The sessions of a store as an ASGI app, to be mounted behind a login of one's own.

    The app has no login of its own: whoever reaches it sees all sessions. Requests that come from
    pages of other sites are refused all the same.

    Args:
        store: where the sessions are; it is not closed here.
        write: whether sessions can be changed: answered, forked, edited, pinned, deleted.
        graph: the LangGraph graph that goes on when a question is answered, compiled or not; it
            runs on this store. Without one, pages say what to run.
        messages: what the list of messages is called in the state.

    Raises:
        ConfigurationError: something is not installed, or is not what it should be.
    """
    check_store(store, "web.app")
    check_installed()
    from wren_sessions.web._app import Settings, build

    return build(store, Settings(write=write, graph=graph, messages=messages))


def check_installed() -> None:
    """Make sure that what the extra ``web`` brings is there.

    Raises:
        ConfigurationError: something is missing.
    """
    missing = [name for module, name in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise ConfigurationError(
            f"sessions in a browser need {' and '.join(missing)}, which the extra 'web' brings: "
            "pip install 'wren-sessions[web]'"
        )
