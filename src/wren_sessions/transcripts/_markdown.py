"""A transcript as Markdown: pure.

What was said stands in block quotes, so that no text can pass for a heading or for another message;
Markdown in it is shown as such, but no HTML and no pictures from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from wren_sessions._invisible import show_hidden
from wren_sessions.transcripts._data import Message, ToolCall, Transcript
from wren_sessions.transcripts._values import json_text

NAMES: Final = {
    "human": "Human",
    "ai": "AI",
    "system": "System",
    "tool": "Tool",
    "interrupt": "Waiting for an answer",
}
_HTML: Final = re.compile(r"<(?=[A-Za-z/!?])")
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#+!|<>~])")
_FENCE: Final = re.compile(r"`{3,}")


def markdown(transcript: Transcript) -> str:
    """A transcript as Markdown."""
    return "\n".join(_lines(transcript)) + "\n"


def _lines(transcript: Transcript) -> Iterator[str]:
    title, session = _plain(transcript.title), _plain(transcript.session)
    yield f"# {title or f'Conversation {session}'}"
    yield ""
    facts = [f"session {session}"] if title else []
    facts += [f"owner {_plain(transcript.owner)}"] if transcript.owner else []
    facts += [f"tags {', '.join(map(_plain, transcript.tags))}"] if transcript.tags else []
    facts.append(f"{len(transcript.messages)} messages")
    if transcript.created is not None:
        facts.append(f"started {stamp(transcript.created)}")
    if transcript.updated is not None:
        facts.append(f"updated {stamp(transcript.updated)}")
    yield ", ".join(facts)
    for message in transcript.messages:
        yield ""
        yield f"### {_heading(message)}"
        yield ""
        yield from _body(message)


def _heading(message: Message) -> str:
    parts = [NAMES.get(message.role, _plain(message.role))]
    if message.name:
        parts.append(f"({_plain(message.name)})")
    if message.status:
        parts.append(f"[{_plain(message.status)}]")
    if message.time is not None:
        parts.append(f"· {stamp(message.time)}")
    return " ".join(parts)


def _body(message: Message) -> Iterator[str]:
    if message.role == "tool":
        yield from _fenced(message.text)
    elif message.text:
        for line in show_hidden(message.text).split("\n"):
            quoted = _HTML.sub("&lt;", line).replace("![", "!\\[")
            yield f"> {quoted}".rstrip()
    for number, call in enumerate(message.tool_calls):
        if number or message.text:
            yield ""
        yield from _call(call)


def _call(call: ToolCall) -> Iterator[str]:
    yield f"Calls **{_plain(call.name) or 'a tool'}**" + (" (not valid)" if call.error else "")
    if call.error:
        yield from ("", f"> {_plain(call.error)}")
    if call.args not in (None, {}, ""):
        yield ""
        args = call.args if isinstance(call.args, str) else json_text(call.args).rstrip()
        yield from _fenced(args, "json")


def _fenced(text: str, language: str = "text") -> Iterator[str]:
    """Text as it is, in a fence that it does not hold."""
    shown = show_hidden(text)
    fence = "`" * max([3, *(len(found) + 1 for found in _FENCE.findall(shown))])
    yield f"{fence}{language}"
    yield from shown.split("\n")
    yield fence


def _plain(text: str) -> str:
    """Text on one line that Markdown leaves as it is."""
    return _SPECIAL.sub(r"\\\1", show_hidden(" ".join(text.split())))


def stamp(time: datetime) -> str:
    """A time for people, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
