"""Pages from templates. Everything that is shown is escaped.

`_as_it_is` gets each value of a template before it is escaped, and replaces invisible characters by
their names, so that no text can pass for another one. The output of `_markdown` is HTML already.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from wren_sessions._invisible import show_hidden
from wren_sessions.records import Life
from wren_sessions.transcripts._markdown import NAMES
from wren_sessions.transcripts._values import json_text
from wren_sessions.ttl import describe_ms
from wren_sessions.viewing.overview import STATUSES
from wren_sessions.viewing.times import ago, expiry, iso, local, local_text, size

_LANES: Final = {
    "●": "dot",
    "│": "bar",
    "├": "tee",
    "─": "over",
    "┴": "foot",
    "╯": "turn",
    "┼": "cross",
}


class Page(HTMLResponse):
    """HTML; what is no valid text is replaced."""

    def render(self, content: Any) -> bytes:
        """The bytes of a page."""
        return str(content).encode("utf-8", "replace")


@cache
def environment() -> Environment:
    """The templates of this package, with what they use."""
    found = Environment(
        loader=PackageLoader("wren_sessions.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_as_it_is,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "ago": ago,
        "ends": ends,
        "expiry": expiry,
        "iso": iso,
        "local": local,
        "local_text": local_text,
        "size": size,
        # In a form, a text is sent back as it was: escaped, and not otherwise changed.
        "as_sent": escape,
        "json_sent": lambda value: escape(json_text(value).rstrip()),
        "duration": lambda ms: describe_ms(int(ms)),
        "role": lambda role: NAMES.get(role, role),
    }
    found.globals |= {"link": link, "parts_lanes": lanes, "STATUSES": STATUSES}
    return found


def _as_it_is(value: Any) -> Any:
    if value is None:
        return ""
    return show_hidden(value) if type(value) is str else value


def ends(life: Life) -> str:
    """When a session ends, as a part of a sentence."""
    if life.pinned or life.deadline_ms is None:
        return "pinned" if life.pinned else "never expires"
    return f"expires in {expiry(life)}"


def lanes(signs: str) -> Markup:
    """The signs of `draw` as elements, which the style sheet draws as lines."""
    return Markup("").join(
        Markup('<span class="lane {}"></span>').format(_LANES.get(sign, "none")) for sign in signs
    )


def link(page: str, **parameters: Any) -> str:
    """The address of a page; parameters without a value are left out."""
    given = {name: value for name, value in parameters.items() if value not in (None, "", False)}
    return f"{page}?{urlencode(given, errors='replace')}" if given else page


def render(template: str, **values: Any) -> Markup:
    """A page."""
    return Markup(environment().get_template(template).render(values))  # noqa: S704 -- escaped
