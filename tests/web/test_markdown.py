"""What was said, as HTML that does nothing."""

from __future__ import annotations

import re

import pytest

from web.attacks import HOSTILE
from wren_sessions.web._markdown import PICTURE, RENDERED, markdown, pictures

ALLOWED = {
    *("a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "img", "li"),
    *("ol", "p", "pre", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(text: str) -> None:
    """No element but our own, no attribute that does anything, no link but to the web."""
    html = str(markdown(text))
    tags = re.findall(r"<(/?)([^\s>/]+)([^>]*)>", html)
    assert {name for _, name, _ in tags} <= ALLOWED
    for closes, name, attributes in tags:
        found = dict(re.findall(r'([\w-]+)="([^"]*)"', attributes))
        assert set(found) <= {"href", "rel", "title", "src", "alt", "class", "start"}
        assert found.get("href", "https://").startswith(("http://", "https://", "mailto:"))
        assert found.get("src", "data:image/png").startswith("data:image/png")
        assert closes or name != "a" or found["rel"] == "noopener noreferrer nofollow"


def test_markdown_is_rendered() -> None:
    """Headings, lists, code, tables, links and line breaks."""
    html = str(markdown("# A\n- **b**\n\n`c`\nd\n\n|e|\n|-|\n|f|\n\n[g](https://example.org)"))
    for part in ("<h1>A</h1>", "<strong>b</strong>", "<code>c</code><br", "<td>f</td>"):
        assert part in html
    assert '<a href="https://example.org" rel="noopener noreferrer nofollow">g</a>' in html


def test_long_text_is_cut() -> None:
    """Rendering takes a bounded time, however long a message is."""
    assert len(markdown("x" * 5_000_000)) < RENDERED + 100


@pytest.mark.parametrize(
    "text",
    ["[" * 50_000, "*a " * 20_000, "> " * 20_000, "`" * 50_000, "![](" * 10_000, "- " * 9_999],
)
def test_text_that_is_made_to_be_slow_is_not(text: str) -> None:
    """What nests, or begins and never ends, is rendered all the same."""
    assert "<script" not in markdown(text)


def test_only_pictures_of_pixels_are_pictures() -> None:
    """From any shape that providers give a block; no address of elsewhere, and nothing broken."""
    png = "data:image/png;base64,AAAA"
    assert pictures([{"type": "image_url", "image_url": {"url": png}}]) == [png]
    assert pictures([{"type": "image_url", "image_url": png}]) == [png]
    source = {"media_type": "image/jpeg", "data": "AAAA"}
    assert pictures([{"type": "image", "source": source}]) == ["data:image/jpeg;base64,AAAA"]
    assert pictures([{"type": "image", "mime_type": "image/gif", "base64": "AAAA"}]) == [
        "data:image/gif;base64,AAAA"
    ]
    for bad in (
        "https://x/a.png",
        "data:image/svg+xml;base64,AA",
        'data:image/png;base64,A"onload',
    ):
        assert pictures([{"image_url": {"url": bad}}, bad, None, 1]) == []
    assert pictures("text") == []
    assert not PICTURE.match("data:image/png;base64,AA\n<script>")
