"""Transcripts as plain, frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from wren_sessions.errors import CorruptSessionError


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool call in a message.

    Attributes:
        id: its id, which the tool's answer refers to; None if it has none.
        name: the tool's name.
        args: its arguments as JSON data; text if they are not valid JSON.
        result: the text of the first answer; None if there is no answer yet.
        error: the reason if the model made a call that is not valid.
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
            question of the graph that waits for an answer; or the application's own role.
        text: the text. Other content appears as a label, such as ``[image]``.
        tool_calls: its tool calls.
        tool_call_id: the tool call that it answers.
        name: the name of the speaker or the tool.
        id: the message's own id.
        time: when the checkpoint was created in which it first appeared; None if unknown.
        checkpoint_id: that checkpoint; None if unknown.
        status: the status of a tool's answer, such as ``"error"``.
        pending: whether it is a question that waits for an answer.
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
        checkpoint_id: the checkpoint it comes from; None for a session without one.
        created: when the session was created.
        updated: when that checkpoint was created, or else when the session was last written.
        owner: the session's owner; None if it has none.
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
        """Whether it ends with a question that waits for an answer."""
        return any(message.pending for message in self.messages)

    def to_json(self) -> str:
        """The text of a ``conversation.json``; see ``docs/reference/files.md``."""
        from wren_sessions.transcripts._json import conversation_text

        return conversation_text(self)

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str = "conversation.json") -> Self:
        """The transcript in a ``conversation.json``.

        It also reads logs of other programs, if they are a list of messages or an object with a
        list called ``messages``.

        Args:
            text: JSON.
            name: the file name, for errors.

        Raises:
            CorruptSessionError: it is not JSON, or not a conversation.
            FormatVersionError: a newer version of this package wrote it.
        """
        from wren_sessions.transcripts._json import conversation_fields

        return cls(**conversation_fields(text, name))

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The transcript in a file. Raises the errors of `from_json`, and `OSError`."""
        return cls.from_json(Path(path).read_bytes(), name=str(path))

    def to_markdown(self) -> str:
        """The transcript as Markdown. No message can look like another message, or like HTML."""
        from wren_sessions.transcripts._markdown import markdown

        return markdown(self)

    def to_html(self, *, title: str | None = None, lang: str = "en") -> str:
        """The transcript as a self-contained HTML page, without scripts or network access.

        Args:
            title: the title of the page; None for the transcript's own title, or else the session's
                id.
            lang: the language of the conversation, as in HTML.
        """
        from wren_sessions.transcripts._html import page

        return page(self, title=title, lang=lang)


def damaged_file(name: str, why: str, session: str = "") -> CorruptSessionError:
    """The error for a file that is not what it should be."""
    return CorruptSessionError(
        f"{name} cannot be read: {why}; restore the file from a copy", session=session
    )
