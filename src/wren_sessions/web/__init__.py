"""Sessions in a browser: an ASGI app on any store, and the server of ``wren-sessions web``.

`app` creates the ASGI app. Mount it in your own app, or serve it alone::

    api.mount("/sessions", wren_sessions.web.app(store))  # behind the login of `api`

How a page is made: its route (`_pages`, `_acting`) calls `OffLoop`, which runs a function of
`_views` in a thread, so that decoding does not block the event loop. Calls to the store are awaited
in the event loop, on ``store.aio``. The function returns plain data, and a template (`_render`)
turns it into HTML and escapes everything. `Guard` is in front of all of it. It decides which
requests are allowed, and its headers tell the browser what it may do with an answer.

Pages work without scripts. ``static/live.js`` only requests the page again, with the tag of the one
it has, and inserts what is new. If nothing is new, the answer is empty.
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
    """The sessions of a store as an ASGI app. Mount it behind your own login.

    The app has no login, so everybody who reaches it sees all sessions. It does refuse requests
    from pages of other sites.

    Args:
        store: where the sessions are; this app does not close it.
        write: whether to allow changes: answer, fork, edit, pin and delete sessions.
        graph: the LangGraph graph that continues when a question is answered, compiled or not. It
            runs on this store. Without a graph, pages say what to run.
        messages: the name of the list of messages in the state.

    Raises:
        ConfigurationError: a package is not installed, or an argument is not valid.
    """
    check_store(store, "web.app")
    check_installed()
    from wren_sessions.web._app import Settings, build

    return build(store, Settings(write=write, graph=graph, messages=messages))


def check_installed() -> None:
    """Check that the packages of the extra ``web`` are installed.

    Raises:
        ConfigurationError: something is missing.
    """
    missing = [name for module, name in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise ConfigurationError(
            f"sessions in a browser need {' and '.join(missing)}, which the extra 'web' brings: "
            "pip install 'wren-sessions[web]'"
        )
