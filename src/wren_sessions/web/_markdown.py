"""Messages as safe HTML.

Markdown is rendered without HTML: what looks like an element is shown as text. Links lead only to
web pages and mail addresses. Pictures are shown if they are part of the text (``data:`` with a
pixel format); others are named. Invisible characters are replaced by their names first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup, escape

from wren_sessions._invisible import show_hidden

RENDERED: Final = 12_000  # characters of a message that are rendered; the rest is a link away
_LINK: Final = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
PICTURE: Final = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*\Z")


class _Renderer(RendererHTML):
    def image(
        self,
        tokens: Sequence[Token],
        idx: int,
        options: OptionsDict,
        env: Any,
    ) -> str:
        source = str(tokens[idx].attrGet("src") or "")
        alt = self.renderInlineAsText(tokens[idx].children, options, env)
        if PICTURE.match(source):
            return f'<img src="{escape(source)}" alt="{escape(alt)}">'
        return f'<span class="named">[image: {escape(alt or "without a name")}]</span>'

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        token = tokens[idx]
        token.attrSet("rel", "noopener noreferrer nofollow")
        if not _LINK.match(str(token.attrGet("href") or "")):
            del token.attrs["href"]  # a picture is shown, and is no link
        return self.renderToken(tokens, idx, options, env)


def _allowed(url: str) -> bool:
    return bool(_LINK.match(url) or PICTURE.match(url))


@cache
def _parser() -> MarkdownIt:
    options = {"html": False, "linkify": False, "breaks": True, "maxNesting": 20}
    parser = MarkdownIt("commonmark", options, renderer_cls=_Renderer).enable(["table"])
    parser.validateLink = _allowed  # type: ignore[method-assign] # the way that its docs show
    return parser


def markdown(text: str) -> Markup:
    """A text as HTML; a long one is cut."""
    return Markup(_parser().render(show_hidden(text[:RENDERED])))  # noqa: S704 -- see above


def pictures(content: object) -> list[str]:
    """The pictures in the content of a message, as ``data:`` addresses."""
    blocks = content if isinstance(content, list | tuple) else []
    found = (_source(block) for block in blocks if isinstance(block, Mapping))
    return [url for url in found if url is not None and PICTURE.match(url)]


def _source(block: Mapping[str, Any]) -> str | None:
    """The address of a block that is a picture, from any shape that providers give it."""
    inner: Any = block.get("image_url") or block.get("source") or block
    if isinstance(inner, str):
        return inner
    if not isinstance(inner, Mapping):
        return None
    if isinstance(inner.get("url"), str):
        return str(inner["url"])
    kind = inner.get("media_type") or inner.get("mime_type")
    data = inner.get("data") or inner.get("base64")
    return f"data:{kind};base64,{data}" if isinstance(data, str) else None
