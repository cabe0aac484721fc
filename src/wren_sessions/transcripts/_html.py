"""A transcript as one page of HTML, and an index of several: pure.

The page is safe to send on and to open: it has no script, loads nothing, and its own policy
(Content-Security-Policy) forbids both. All text is escaped, each in an element that keeps the
direction of its writing to itself, and hidden characters are shown by name.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from functools import cache
from html import escape
from importlib.resources import files
from itertools import chain, pairwise
from typing import Final, NamedTuple, Self
from urllib.parse import quote

from wren_sessions._invisible import show_hidden
from wren_sessions.transcripts._data import Message, ToolCall, Transcript
from wren_sessions.transcripts._markdown import NAMES, stamp
from wren_sessions.transcripts._values import json_text

_FENCED: Final = re.compile(r"^```[^\n`]*\n(.*?)(?:\n```[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`([^`\n]+)`")
_STRONG: Final = re.compile(r"\*\*(?=\S)([^*\n]+?)(?<=\S)\*\*")
_LONG_CHARACTERS: Final = 8_000
_LAST_CHARACTERS: Final = 200
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_STYLED: Final = frozenset({"human", "ai", "system", "developer", "tool", "interrupt"})


class Entry(NamedTuple):
    """A line of an index of pages: the page of a conversation, and what to recognise it by.

    Attributes:
        file: the page, in the same folder.
        session: the session's id.
        title: what the conversation is called; empty for its id.
        facts: whose it is, its tags, how long it is, and when it was.
        updated: when it was last written.
        last: what was said or asked last.
    """

    file: str
    session: str
    title: str
    facts: tuple[str, ...]
    updated: datetime | None
    last: str

    @classmethod
    def of(cls, file: str, transcript: Transcript) -> Self:
        """The line of a transcript; a long text is cut."""
        last = " ".join(transcript.messages[-1].text.split()) if transcript.messages else ""
        cut = f"{last[:_LAST_CHARACTERS]}…" if len(last) > _LAST_CHARACTERS else last
        facts = tuple(_facts(transcript))
        return cls(file, transcript.session, transcript.title, facts, transcript.updated, cut)


def page(transcript: Transcript, *, title: str | None = None, lang: str = "en") -> str:
    """A transcript as a page; see `Transcript.to_html`."""
    title = title or transcript.title
    facts = [f"<bdi>{_inline(transcript.session)}</bdi>"] if title else []
    title = title or f"Conversation {transcript.session}"
    header = _header(title, [*facts, *_facts(transcript)])
    body = chain(header, ["<main>"], _messages(transcript), ["</main>"])
    return _document(title, lang, body)


def index(entries: Sequence[Entry]) -> str:
    """A page that leads to the pages of several conversations, the last updated first."""
    entries = sorted(entries, key=lambda entry: entry.updated or _NEVER, reverse=True)
    count = f"{len(entries)} conversation{'' if len(entries) == 1 else 's'}"
    body = chain(_header("Conversations", [count]), ["<main>"], _lines(entries), ["</main>"])
    return _document("Conversations", "en", body)


def _document(title: str, lang: str, body: Iterable[str]) -> str:
    return "\n".join([*_head(title, lang), "<body>", *body, "</body>", "</html>"]) + "\n"


def _head(title: str, lang: str) -> Iterator[str]:
    style, digest = _style()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    yield "<!DOCTYPE html>"
    yield f'<html lang="{escape(show_hidden(lang))}">'
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield '<meta name="robots" content="noindex">'
    yield '<meta name="color-scheme" content="light dark">'
    yield f"<title>{escape(show_hidden(title))}</title>"
    yield f"<style>{style}</style>"
    yield "</head>"


@cache
def _style() -> tuple[str, str]:
    """The style sheet, and the digest by which the page's policy allows it and no other."""
    css = files("wren_sessions.transcripts").joinpath("_page.css").read_text("utf-8")
    return css, base64.b64encode(hashlib.sha256(css.encode()).digest()).decode("ascii")


def _header(title: str, facts: Iterable[str]) -> Iterator[str]:
    yield f'<header><h1 dir="auto">{_inline(title)}</h1><p>{" · ".join(facts)}</p></header>'


def _facts(transcript: Transcript) -> Iterator[str]:
    if transcript.owner:
        yield f"owner <bdi>{_inline(transcript.owner)}</bdi>"
    if transcript.tags:
        tags = (f"<bdi>{_inline(tag)}</bdi>" for tag in transcript.tags)
        yield f"tags {', '.join(tags)}"
    count = len(transcript.messages)
    yield f"{count} message{'' if count == 1 else 's'}"
    if transcript.created is not None:
        yield f"started {_time(transcript.created, stamp(transcript.created))}"
    if transcript.updated is not None:
        yield f"updated {_time(transcript.updated, stamp(transcript.updated))}"


def _lines(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        name = _inline(entry.title or entry.session)
        facts = (f"<bdi>{_inline(entry.session)}</bdi>", *entry.facts)
        yield f'<article><p><a href="{escape(quote(entry.file))}" dir="auto">{name}</a></p>'
        yield f'<p class="facts">{" · ".join(facts if entry.title else entry.facts)}</p>'
        yield f'<div class="text" dir="auto">{_inline(entry.last)}</div></article>'


def _messages(transcript: Transcript) -> Iterator[str]:
    if not transcript.messages:
        yield '<p class="empty">Nothing was said.</p>'
    days = [None, *(message.time for message in transcript.messages)]
    shown = {call.id for message in transcript.messages for call in message.tool_calls}
    several = len({_day(time) for time in days if time is not None}) > 1
    last: date | None = None
    for (_, time), message in zip(pairwise(days), transcript.messages, strict=True):
        if several and time is not None and _day(time) != last:
            last = _day(time)
            yield f'<p class="day">{_time(time, f"{last:%A, %d %B %Y}")}</p>'
        answer = message.role == "tool" and message.tool_call_id in shown
        if answer and message.status is None:
            continue  # the call shows it
        yield from _message(message, whole=not several)


def _day(time: datetime) -> date:
    return time.astimezone(UTC).date()


def _message(message: Message, *, whole: bool) -> Iterator[str]:
    role = message.role if message.role in _STYLED else "other"
    yield f'<article class="{role}">'
    yield _who(message, whole=whole)
    if message.role == "tool":
        yield _folded("Result", message.text)
    elif len(message.text) > _LONG_CHARACTERS:
        yield f'<div class="text" dir="auto">{_formatted(message.text[:600])}…</div>'
        yield _folded(f"All of it, {len(message.text):,} characters", message.text)
    elif message.text or not message.tool_calls:
        yield f'<div class="text" dir="auto">{_formatted(message.text)}</div>'
    for call in message.tool_calls:
        yield from _call(call)
    yield "</article>"


def _who(message: Message, *, whole: bool) -> str:
    parts = [f"<b><bdi>{_inline(NAMES.get(message.role, message.role))}</bdi></b>"]
    if message.name:
        parts.append(f'<span class="note"><bdi>{_inline(message.name)}</bdi></span>')
    if message.status:
        parts.append(f'<span class="note"><bdi>{_inline(message.status)}</bdi></span>')
    if message.time is not None:
        time = message.time.astimezone(UTC)
        parts.append(_time(time, stamp(time) if whole else f"{time:%H:%M:%S} UTC"))
    return f'<p class="who">{"".join(parts)}</p>'


def _call(call: ToolCall) -> Iterator[str]:
    name = _inline(call.name) if call.name else "a tool"
    yield f"<details><summary>Calls <b><bdi>{name}</bdi></b></summary>"
    if call.error:
        yield f"<p>Not valid: <bdi>{_inline(call.error)}</bdi></p>"
    if call.args not in (None, {}, ""):
        args = call.args if isinstance(call.args, str) else json_text(call.args).rstrip()
        yield f"<p>With</p>{_block(args)}"
    if call.result is not None:
        yield f"<p>Result</p>{_block(call.result)}"
    yield "</details>"


def _folded(summary: str, text: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{_block(text)}</details>"


# --- text -----------------------------------------------------------------------------------------


def _formatted(text: str) -> str:
    """What was said: text as it is, with code and strong words shown as such."""
    text = text.replace("\r\n", "\n")
    parts, at = [], 0
    for found in _FENCED.finditer(text):
        parts.append(_prose(text[at : found.start()].strip("\n")))
        parts.append(_block(found.group(1)))
        at = found.end()
    parts.append(_prose(text[at:].strip("\n") if at else text))
    return "".join(parts)


def _prose(text: str) -> str:
    parts, at = [], 0
    for found in _CODE.finditer(text):
        parts.append(_STRONG.sub(r"<strong>\1</strong>", _inline(text[at : found.start()])))
        parts.append(f"<code>{_inline(found.group(1))}</code>")
        at = found.end()
    parts.append(_STRONG.sub(r"<strong>\1</strong>", _inline(text[at:])))
    return "".join(parts)


def _block(text: str) -> str:
    return f'<pre dir="auto">{_inline(text)}</pre>' if text else '<p class="empty">Nothing</p>'


def _inline(text: str) -> str:
    """Text that HTML shows as it is; escaped first, so that only our own marks are elements."""
    return show_hidden(escape(text), '<span class="hidden">{}</span>'.format)


def _time(time: datetime, shown: str) -> str:
    return f'<time datetime="{time.astimezone(UTC).isoformat()}">{escape(shown)}</time>'
