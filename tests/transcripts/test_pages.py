"""The page of a conversation, and its Markdown: whatever was said, it stays what was said."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wren_sessions.transcripts import Message, ToolCall, Transcript

NOW = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)
VOID = {"meta"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><style>*{display:none}</style>",
    "</pre></details></article></main></body></html><h1>over</h1>",
    "<!-- ",
    "]]> <![CDATA[",
    "&lt;script&gt; &amp; &#60;",
    "javascript:alert(1)",
    "**<b>bold</b>** `<i>code</i>`",
    "```\n<script>\n```\n</pre><script>",
    "``` unclosed <script>",
    "\u202eevil\u202c \x1b[31m \x00 \u200b\ufeff \u2066",
    "\ud800 half",
    "مرحبا English שלום",
    "👩‍👩‍👧‍👦🎉",
    "x" * 100_000,
    "# Heading\n### AI · 2026\n> quote\n- list\n| a | b |\n![pixel](http://x/y.png)",
]


class Page(HTMLParser):
    """What a browser makes of a page: its elements, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text: list[str] = []
        self.comments = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Note an element."""
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Each element is closed by its own end."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text outside of the style sheet."""
        if "style" not in self.open and "head" not in self.open:
            self.text.append(data)

    def handle_comment(self, data: str) -> None:
        """Count comments."""
        self.comments += 1

    def unknown_decl(self, data: str) -> None:
        """Count declarations too."""
        self.comments += 1


ELEMENTS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "h1",
    "p",
    "main",
    "article",
    "div",
    "span",
    "b",
    "bdi",
    "time",
    "details",
    "summary",
    "pre",
    "code",
    "strong",
}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "dir", "datetime"}


def checked(html: str) -> Page:
    """A page that holds no element, attribute or comment that is not its own."""
    page = Page(html)
    assert page.open == []
    assert set(page.tags) <= ELEMENTS
    assert {name for _, name, _ in page.attributes} <= ATTRIBUTES
    assert page.comments == 0
    assert page.tags.count("html") == page.tags.count("style") == page.tags.count("main") == 1
    return page


def everywhere(text: str) -> Transcript:
    """A text in every place that a transcript has for one."""
    call = ToolCall(id="1", name=text, args={text: [text]}, error=text)
    return Transcript(
        session=text,
        messages=(
            Message(role="human", text=text, name=text, status=text, time=NOW),
            Message(role=text, text=text),
            Message(role="ai", text=text, tool_calls=(call, ToolCall(id="2", name="", args=text))),
            Message(role="tool", text=text, name=text, tool_call_id="1"),
            Message(role="tool", text=text, tool_call_id="unknown", time=NOW + timedelta(days=1)),
            Message(role="interrupt", text=text, pending=True),
        ),
        created=NOW,
        updated=NOW,
        owner=text,
        title=text,
        tags=(text, text),
    )


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_shown_and_does_nothing(text: str) -> None:
    """Wherever it stands, text adds no element, no attribute and no comment to the page."""
    html = everywhere(text).to_html(title=text, lang=text[:40])
    page = checked(html)
    html.encode("utf-8")
    shown = "".join(page.text)
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff]", html
    )
    for word in re.findall(r"[A-Za-z]{4,40}", text):
        assert word in shown


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.characters(exclude_categories=[]) | st.sampled_from("<>&\"'`*=\n/!-[]"), max_size=60)
)
def test_any_text_is_shown_and_does_nothing(text: str) -> None:
    """The same for whatever Hypothesis thinks of."""
    html = everywhere(text).to_html()
    html.encode("utf-8")
    checked(html)


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    """Its policy forbids all but its own style sheet; nothing in it names another place."""
    html = everywhere("https://example.org/x.png").to_html()
    page = checked(html)
    values = {value for tag, name, value in page.attributes if (tag, name) == ("meta", "content")}
    policy = next(value for value in values if value and value.startswith("default-src"))
    style = html[html.index("<style>") + 7 : html.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "url(" not in style
    assert "@import" not in style
    assert "width=device-width, initial-scale=1" in values
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style


def test_the_page_has_title_language_and_times() -> None:
    """The page says what it is, in which language, and when things were said."""
    html = everywhere("hi").to_html(title="An interview", lang="de")
    assert '<html lang="de">' in html
    assert "<title>An interview</title>" in html
    assert '<time datetime="2026-03-01T23:59:00+00:00">' in html
    assert "Monday, 02 March 2026" in html  # the next day begins


def test_owner_title_and_tags_stand_above() -> None:
    """On the page and in Markdown; a title is the heading, and the id stands below it then."""
    noted = Transcript(session="s_1", messages=(), owner="ann", title="A *trip*", tags=("a", "b"))
    text = " ".join(checked(noted.to_html()).text)
    assert "A *trip*" in text
    assert [part for part in ("s_1", "owner", "ann", "tags", "a", "b") if part not in text] == []
    assert "<title>Other</title>" in noted.to_html(title="Other")
    lines = noted.to_markdown().splitlines()
    assert lines[0] == r"# A \*trip\*"
    assert lines[2] == r"session s\_1, owner ann, tags a, b, 0 messages"
    assert json.loads(noted.to_json()) | {"owner": "ann", "tags": ["a", "b"]} == json.loads(
        noted.to_json()
    )
    bare = Transcript(session="s", messages=())
    assert bare.to_markdown().splitlines()[:3] == ["# Conversation s", "", "0 messages"]
    assert not {"owner", "title", "tags"} & json.loads(bare.to_json()).keys()


def test_tools_are_folded_and_results_shown_once() -> None:
    """A call is folded, with its arguments and its result; the answer is not there again."""
    call = ToolCall(id="1", name="weather", args={"city": "Paris"}, result="21 degrees")
    transcript = Transcript(
        session="s",
        messages=(
            Message(role="ai", text="", tool_calls=(call,)),
            Message(role="tool", text="21 degrees", tool_call_id="1"),
        ),
    )
    html = transcript.to_html()
    assert html.count("21 degrees") == 1
    assert "<summary>Calls <b><bdi>weather</bdi></b></summary>" in html


def test_code_is_code() -> None:
    """Fenced code is a block, code in a line is marked, and what is in it stays as it is."""
    html = Transcript(
        session="s", messages=(Message(role="ai", text="So:\n```py\na < **b**\n```\n**yes** `x*`"),)
    ).to_html()
    assert '<pre dir="auto">a &lt; **b**</pre>' in html
    assert "<strong>yes</strong> <code>x*</code>" in html


def test_an_empty_conversation_is_a_page_too() -> None:
    """A session without messages says so."""
    assert "Nothing was said." in "".join(
        checked(Transcript(session="s", messages=()).to_html()).text
    )


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_message_passes_for_another_in_markdown(text: str) -> None:
    """Headings, HTML and pictures in a message are not those of the document."""
    lines = everywhere(text).to_markdown().encode().decode().split("\n")
    fence = ""
    headings = 0
    for line in lines:
        opened = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif opened:
            fence = opened.group()
        else:
            headings += line.startswith("#")
            assert not re.search(r"(?<!\\)<[A-Za-z/!?]", line)
            assert "![" not in line
    assert not fence
    assert headings == 7  # the title, and six messages


def test_markdown_reads_well() -> None:
    """Who said what and when, and what was called."""
    call = ToolCall(id="1", name="get_weather", args={"city": "Paris"})
    text = Transcript(
        session="cli_1",
        messages=(
            Message(role="human", text="Hi\n\n**there**", time=NOW),
            Message(role="ai", text="", tool_calls=(call,)),
            Message(role="tool", text="21", name="get_weather", tool_call_id="1"),
        ),
    ).to_markdown()
    assert text == (
        "# Conversation cli\\_1\n\n3 messages\n\n"
        "### Human · 2026-03-01 23:59:00 UTC\n\n> Hi\n>\n> **there**\n\n"
        "### AI\n\nCalls **get\\_weather**\n\n"
        '```json\n{\n  "city": "Paris"\n}\n```\n\n'
        "### Tool (get\\_weather)\n\n```text\n21\n```\n"
    )
