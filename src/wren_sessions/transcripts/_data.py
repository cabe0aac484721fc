"""What a transcript is: plain data, frozen, the same wherever it came from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from wren_sessions.errors import CorruptSessionError


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool that a message asked for.

    Attributes:
        id: by which the tool's answer names it; None where it has none.
        name: the tool's name.
        args: its arguments as JSON has them; text where they are no valid JSON.
        result: the text of the first answer to it; None while there is none.
        error: why the call is not valid, where the model made one that is not.
    """

    id: str | None
    name: str
    args: Any = None
    result: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message.

    Attributes:
        role: who speaks: ``"human"``, ``"ai"``, ``"system"``, ``"tool"``; ``"interrupt"`` for a
            question of the graph that waits for its answer; else what the application calls it.
        text: what was said. What is no text stands in it as a label, such as ``[image]``.
        tool_calls: the tools it asks for.
        tool_call_id: the call that it answers.
        name: of the speaker, or of the tool.
        id: the message's own id.
        time: when the checkpoint was made in which it first appeared; None where that is not known.
        checkpoint_id: that checkpoint; None where it is not known.
        status: of a tool's answer, such as ``"error"``.
        pending: whether it is a question that waits for its answer.
    """

    role: str
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    id: str | None = None
    time: datetime | None = None
    checkpoint_id: str | None = None
    status: str | None = None
    pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A session's conversation.

    Attributes:
        session: the session's id.
        messages: in order; questions that wait for an answer come last.
        checkpoint_id: the checkpoint it was made from; None for a session without one.
        created: when the session was made.
        updated: when that checkpoint was made, or else when the session was last written.
        owner: whose session it is; None for nobody's.
        title: its title; empty if it has none.
        tags: its tags.
    """

    session: str
    messages: tuple[Message, ...]
    checkpoint_id: str | None = None
    created: datetime | None = None
    updated: datetime | None = None
    owner: str | None = None
    title: str = ""
    tags: tuple[str, ...] = ()

    @property
    def waiting(self) -> bool:
        """Whether it ends with a question that waits for its answer."""
        return any(message.pending for message in self.messages)

    def to_json(self) -> str:
        """As the text of a ``conversation.json``; see ``docs/reference/files.md``."""
        from wren_sessions.transcripts._json import conversation_text

        return conversation_text(self)

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str = "conversation.json") -> Self:
        """What `to_json` was called on.

        Logs of other programs are read as far as they have messages: a list of them, or an object
        with a list called ``messages``.

        Args:
            text: JSON.
            name: the file it comes from, for errors.

        Raises:
            CorruptSessionError: it is no JSON, or is no conversation.
            FormatVersionError: a newer version of this package wrote it.
        """
        from wren_sessions.transcripts._json import conversation_fields

        return cls(**conversation_fields(text, name))

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The transcript in a file; errors as `from_json`, and `OSError` where it is not there."""
        return cls.from_json(Path(path).read_bytes(), name=str(path))

    def to_markdown(self) -> str:
        """As Markdown. No message can pass for another one, or for HTML."""
        from wren_sessions.transcripts._markdown import markdown

        return markdown(self)

    def to_html(self, *, title: str | None = None, lang: str = "en") -> str:
        """As one page of HTML that needs nothing else: no network, no script.

        Args:
            title: of the page; None for the transcript's own title, or else the session's id.
            lang: the language of the conversation, as HTML names it.
        """
        from wren_sessions.transcripts._html import page

        return page(self, title=title, lang=lang)


def damaged_file(name: str, why: str, session: str = "") -> CorruptSessionError:
    """The error for a file that is not what it should be."""
    return CorruptSessionError(
        f"{name} cannot be read: {why}; restore the file from a copy", session=session
    )
