"""What pages show, as plain data.

Functions whose first argument is a store run in a thread (`OffLoop`).

If a session does not exist, or the store does not answer, the whole page is an error. If a value is
damaged, sealed with another key, or unreadable, the page is still shown: `attempt` returns the
reason, which the page shows in place of the value.
"""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from wren_sessions._blocking import run
from wren_sessions.checkpoints.waiting import next_step
from wren_sessions.protocols import SessionStore
from wren_sessions.sessions.operations import not_found
from wren_sessions.transcripts import Message
from wren_sessions.transcripts._origins import Dated
from wren_sessions.transcripts._questions import interrupts_in, question_text
from wren_sessions.transcripts._values import json_text, jsonable
from wren_sessions.viewing.overview import Overview, detailed, overview
from wren_sessions.viewing.states import Reader, attempt, state_of, transcribing
from wren_sessions.viewing.values import glimpse
from wren_sessions.web._index import Found, Index, Query
from wren_sessions.web._markdown import RENDERED, markdown, pictures

MESSAGES: Final = 50  # on a page
LOOKED_BACK: Final = 2_000  # checkpoints, for the times of the messages of a page
FOLDED: Final = 4_000  # characters of a tool's arguments, of its result, and of a system message

_RENDERED: Final = frozenset({"human", "ai", "interrupt"})


# --- what a session waits for ---------------------------------------------------------------------


class Question(NamedTuple):
    """A question that waits for its answer.

    Attributes:
        id: by which an answer names it; empty where it has none.
        text: as people read it.
        value: as it was asked, as JSON has it.
        calls: the calls to decide on, where it asks for that as LangChain's middleware does.
    """

    id: str
    text: str
    value: Any
    calls: list[dict[str, Any]]

    @property
    def payload(self) -> str:
        """What was asked, as JSON."""
        return json_text(self.value).rstrip()[:FOLDED]


def questions_of(writes: list[tuple[str, str, Any]]) -> list[Question]:
    """What the pending writes of a checkpoint ask; nothing where it was answered, and failed."""
    found: list[Question] = []
    step = next_step(writes)
    for written in step.questions if step.status == "waiting" else ():
        for asked in interrupts_in(written):
            value = jsonable(asked.value)
            text = question_text(asked.value)
            found.append(Question(str(asked.id or ""), text, value, calls_in(value)))
    return found


def calls_in(asked: Any) -> list[dict[str, Any]]:
    """The calls that are to be decided on, as LangChain's middleware asks."""
    calls = asked.get("action_requests") if isinstance(asked, dict) else None
    return [call for call in calls or () if isinstance(call, dict)]


class Head(NamedTuple):
    """What stands above each page of a session.

    Attributes:
        row: the session from outside.
        at: the checkpoint that is looked at; None for the latest one.
        namespaces: of its subgraphs, and the root's, which is empty.
        questions: what it waits for.
        errors: what its last step raised, in a few words.
        fault: why questions and errors cannot be read.
    """

    row: Overview
    at: str | None
    namespaces: list[str]
    questions: list[Question]
    errors: list[str]
    fault: str


def head_of(store: SessionStore, session: str, at: str | None) -> Head:
    """What stands above a page of a session.

    Raises:
        SessionNotFoundError: it is not there, or has no such checkpoint.
    """
    reader = Reader(store)
    rows = detailed(store, [overview(store, reader.info(session))])
    if not rows:
        not_found(session)
    exact = None if at is None else reader.named(session, at)
    writes, fault = attempt(lambda: reader.writes(session, exact))
    return Head(
        row=rows[0],
        at=exact,
        namespaces=[namespace for namespace, _ in store.heads(session)],
        questions=questions_of(writes or []),
        errors=[glimpse(error) for error in next_step(writes or []).errors],
        fault=fault,
    )


# --- the conversation -----------------------------------------------------------------------------


class Call(NamedTuple):
    """A tool that a message asks for."""

    name: str
    args: str
    result: str | None
    error: str | None


class Said(NamedTuple):
    """A message of a page.

    Attributes:
        number: its place in the conversation.
        message: the message.
        html: its text, where it is rendered; else None.
        text: its text, where it is not; perhaps cut.
        more: how many characters are not shown.
        calls: the tools it asks for.
        pictures: that it holds, as ``data:`` addresses.
        digest: another one if anything of it changes.
    """

    number: int
    message: Message
    html: Markup | None
    text: str
    more: int
    calls: list[Call]
    pictures: list[str]
    digest: str


class Conversation(NamedTuple):
    """A page of a conversation.

    Attributes:
        said: its messages.
        first: the place of the first one.
        total: how many messages there are.
        later: up to where the page behind it goes; None at the end.
        fault: why they cannot be read.
    """

    said: list[Said]
    first: int
    total: int
    later: int | None
    fault: str


def conversation(
    store: SessionStore, session: str, at: str | None, until: int | None, channel: str
) -> Conversation:
    """The messages up to a place; None for the last ones."""
    dated = Dated(-MESSAGES if until is None else max(0, until - MESSAGES), most=LOOKED_BACK)
    found, fault = attempt(lambda: run(transcribing(store, dated).run(session, at, channel)))
    messages = [] if found is None else [each for each in found.messages if not each.pending]
    end = len(messages) if until is None else max(0, min(until, len(messages)))
    first = max(0, end - MESSAGES)
    answers = {call.id for message in messages for call in message.tool_calls}
    chosen = [
        (number, message)
        for number, message in enumerate(messages[first:end], first)
        if message.role != "tool" or message.status or message.tool_call_id not in answers
    ]
    raw: list[Any] = []
    if any("[image" in message.text for _, message in chosen):
        snapshot, _ = attempt(lambda: Reader(store).snapshot(session, at))
        value = state_of(snapshot).get(channel)
        raw = value if isinstance(value, list) else []
    said = [_said(number, message, raw) for number, message in chosen]
    later = min(first + 2 * MESSAGES, len(messages)) if first + MESSAGES < len(messages) else None
    return Conversation(said, first, len(messages), later, fault)


def _said(number: int, message: Message, raw: list[Any]) -> Said:
    rendered = message.role in _RENDERED
    most = RENDERED if rendered else FOLDED
    calls = [
        Call(
            name=call.name,
            args=_cut(call.args if isinstance(call.args, str) else json_text(call.args).rstrip())
            if call.args not in (None, {}, "")
            else "",
            result=None if call.result is None else _cut(call.result),
            error=call.error,
        )
        for call in message.tool_calls
    ]
    fields = getattr(raw[number], "value", raw[number]) if number < len(raw) else None
    shown = pictures(fields.get("content")) if isinstance(fields, dict) else []
    about = repr((message.role, message.name, message.status, message.time, calls, len(shown)))
    digest = blake2b(message.text.encode("utf-8", "replace"), digest_size=8)
    digest.update(about.encode("utf-8", "replace"))
    return Said(
        number=number,
        message=message,
        html=markdown(message.text) if rendered else None,
        text="" if rendered else message.text[:most],
        more=max(0, len(message.text) - most),
        calls=calls,
        pictures=shown,
        digest=digest.hexdigest(),
    )


def _cut(text: str) -> str:
    more = len(text) - FOLDED
    return text if more <= 0 else f"{text[:FOLDED]}… ({more:,} more characters)"


# --- sessions -------------------------------------------------------------------------------------


class Asking(NamedTuple):
    """A session of the inbox, and what it asks."""

    row: Overview
    questions: list[Question]
    fault: str


def inbox(
    store: SessionStore, index: Index, after: tuple[int, str] | None
) -> tuple[Found, list[Asking]]:
    """The sessions that wait for a person."""
    found, reader = index.find(store, Query(status="waiting", after=after)), Reader(store)
    asking = []
    for row in found.rows:
        writes, fault = attempt(partial(reader.writes, row.session))
        asking.append(Asking(row, questions_of(writes or []), fault))
    return found, asking
