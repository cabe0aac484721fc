"""What is known of a session without reading its state: plain data.

The header has the number of turns and messages, and whether the app called the session complete.
Whether it waits for an answer, or has failed, follows from the pending writes of its latest
checkpoint. Reading these takes one call per session.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

from wren_sessions._blocking import Unsuspended, run
from wren_sessions._walks import SessionWalk
from wren_sessions.checkpoints.snapshots import Snapshot
from wren_sessions.delta.protection import protection_of
from wren_sessions.errors import WrenSessionsError
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Life, SessionInfo
from wren_sessions.serializers.keyring import is_owner_key
from wren_sessions.transcripts import Transcript, message_of
from wren_sessions.transcripts._questions import question_text
from wren_sessions.viewing.states import (
    DONE,
    FAULTS,
    Reader,
    interrupts_of,
    state_of,
    status_of,
    transcribing,
)
from wren_sessions.viewing.times import iso
from wren_sessions.viewing.values import GLIMPSE, glimpse

PAGE: Final = 500  # headers
AT_ONCE: Final = 16  # questions to a server that is far away, which answers them in one trip time
NEAR_S: Final = 0.005  # one that answers sooner is asked one after the other: threads cost more
SAID_BYTES_EACH: Final = 256 << 10  # what a session takes whose last message a listing reads
SAID_BYTES: Final = 8 << 20  # … and all of them together
STATUSES: Final = ("waiting", "failed", "running", "done", "complete", "empty", "unreadable")
_FIRST: Final = 4  # messages among which the first words are looked for
_TURN_NAMES: Final = ("turn_count", "turns")


class Overview(NamedTuple):
    """A session from outside.

    Attributes:
        session: its id.
        address: its address.
        life: when it was made, written, and ends.
        turns: how many turns its header tells of, else how many messages are of people where its
            state was read; None if neither is known.
        messages: how many messages its header tells of; None if it does not.
        step: LangGraph's count of steps; None for a session without a checkpoint.
        complete: whether its app called it complete, as its header tells.
        status: ``waiting`` for an answer, ``failed``, ``running``, ``done``, ``complete`` or
            ``empty``; None if that was not asked, and the header alone does not tell.
        size_bytes: what it takes in the store; None if that was not asked, or is not known.
        title: what is noted as its title; else the state's ``title``, where its app put it into the
            header; else empty.
        last: what was said last, in a few words; empty if that was not asked.
        first: what a person said first, in a few words; empty if that was not asked.
        owner: whose it is.
        tags: its tags.
        missing_key: the key that it is encrypted with, where the store has not got it.
    """

    session: str
    address: str
    life: Life
    turns: int | float | None
    messages: int | None
    step: int | None
    complete: bool
    status: str | None
    size_bytes: int | None = None
    title: str = ""
    last: str = ""
    first: str = ""
    owner: str | None = None
    tags: tuple[str, ...] = ()
    missing_key: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        life = self.life
        return {
            "id": self.session,
            "address": self.address,
            "owner": self.owner,
            "title": self.title or None,
            "tags": list(self.tags),
            "turns": self.turns,
            "messages": self.messages,
            "step": self.step,
            "size_bytes": self.size_bytes,
            "created": iso(life.created_ms),
            "updated": iso(life.updated_ms),
            "expires": iso(life.deadline_ms),
            "ttl_seconds": None if life.ttl_ms is None else life.ttl_ms / 1_000,
            "pinned": life.pinned,
            "status": self.status,
        }


def overview(store: SessionStore, info: SessionInfo) -> Overview:
    """What a listing tells of a session."""
    state = header_of(info)
    values, metadata = _part(state, "checkpoint"), _part(state, "metadata")
    complete = values.get("is_complete") is True
    turns = next(
        (values[name] for name in _TURN_NAMES if type(values.get(name)) in {int, float}), None
    )
    return Overview(
        session=info.session,
        address=store.keys.address(info.session),
        life=info.life,
        turns=turns,
        messages=_whole(values.get("message_count")),
        step=_whole(metadata.get("step")),
        complete=complete,
        status=None if complete or "checkpoint_id" in metadata else "empty",
        size_bytes=info.size_bytes,
        title=info.title or (title if isinstance(title := values.get("title"), str) else ""),
        owner=info.owner,
        tags=info.tags,
        missing_key=missing_key(store, state),
    )


def missing_key(store: SessionStore, header: Mapping[str, Any]) -> str | None:
    """The key that a session is encrypted with, where the store has not got it.

    An owner's key that a store with keys has not got was destroyed: nobody can set it.
    """
    about = header.get("encryption")
    if not isinstance(about, dict) or "sealed" not in about:
        return None
    key = str(about.get("key"))
    return None if is_owner_key(key) and protection_of(store).encryption is not None else key


def missing_keys(keys: Sequence[str]) -> tuple[str, str]:
    """What is said of sessions with missing keys, one each; and what to do."""
    names = ", ".join(sorted(map(repr, set(keys))))
    many = "session is" if len(keys) == 1 else "sessions are"
    return (
        f"{len(keys):,} {many} encrypted, and not with a key that is set here (but {names})",
        "set WREN_SESSIONS_ENCRYPTION_KEYS as the app does",
    )


def headers(
    store: SessionStore, most: int | None = None, owner: str | None = None
) -> tuple[list[Overview], SessionWalk]:
    """What the headers of all sessions tell, or of about so many; and the walk, where it ended."""
    walk = SessionWalk(Unsuspended(store), PAGE, owner=owner)
    rows: list[Overview] = []
    while (most is None or len(rows) < most) and (page := run(walk.next_page())) is not None:
        rows += [overview(store, info) for info in page]
    return rows, walk


def transcript_of(store: SessionStore, session: str, at: str | None, messages: str) -> Transcript:
    """A session's transcript at a checkpoint, or at the latest one; titled as in listings."""
    exact = None if at is None else Reader(store).named(session, at)
    found = run(transcribing(store).run(session, exact, messages))
    info = None if found.title else store.info(session)
    return found if info is None else replace(found, title=overview(store, info).title)


def header_of(info: SessionInfo) -> dict[str, Any]:
    """A session's header; empty where it has none that can be read."""
    try:
        found = json.loads(info.state)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def detailed(store: SessionStore, rows: Sequence[Overview]) -> list[Overview]:
    """The same with their sizes and what they wait for; without those that have gone meanwhile.

    One that cannot be read is ``unreadable``, and does not end the others.
    """
    return [row for row in _each(rows, partial(_detail, store)) if row is not None]


def _each(
    rows: Iterable[Overview], question: Callable[[Overview], Overview | None]
) -> list[Overview | None]:
    """The answers to a question about each session; many at once where the store is far away."""
    found: list[Overview | None] = []
    rest = list(rows)
    start = time.perf_counter()
    while rest and time.perf_counter() - start <= (len(found) + 1) * NEAR_S:
        found.append(question(rest.pop(0)))
    if rest:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(AT_ONCE, len(rest))) as pool:
            found += pool.map(question, rest)
    return found


def _detail(store: SessionStore, row: Overview) -> Overview | None:
    """One session with its details; None if it has gone meanwhile."""
    try:
        info = store.info(row.session)
        if info is None:
            return None
        row = row._replace(size_bytes=info.size_bytes)
        return with_status(store, row)
    except FAULTS:
        return row._replace(status="unreadable")


def with_last_messages(
    store: SessionStore, rows: Sequence[Overview], *, only_turns: bool = False
) -> list[Overview]:
    """The same with what was said last, and turns where the header tells none.

    This reads states: of small sessions whose sizes are known, and not too many. With `only_turns`,
    it reads no session whose turns are known.
    """
    small, left = set(), SAID_BYTES
    for row in rows:
        size = row.size_bytes or 0
        if only_turns and row.turns is not None:
            continue
        if 0 < size <= min(left, SAID_BYTES_EACH):
            left -= size
            small.add(row.session)
    found = _each((row for row in rows if row.session in small), partial(_said, store))
    said = {row.session: row for row in found if row is not None}
    return [said.get(row.session, row) for row in rows]


def _said(store: SessionStore, row: Overview) -> Overview:
    """One session with what was said in it; as it is where that cannot be read."""
    with suppress(WrenSessionsError):
        snapshot = Reader(store).snapshot(row.session, None)
        messages = state_of(snapshot).get("messages")
        turns = row.turns
        if turns is None and isinstance(messages, list) and messages:
            turns = sum(message_of(raw).role == "human" for raw in messages)
        said = map(message_of, messages[:_FIRST] if isinstance(messages, list) else ())
        first = next((message.text for message in said if message.role == "human"), "")
        words = " ".join(first[:GLIMPSE].split())
        return row._replace(last=_last(snapshot), first=words, turns=turns)
    return row


def _last(snapshot: Snapshot | None) -> str:
    asked = interrupts_of(snapshot)
    if asked:
        return question_text(asked[-1])
    messages = state_of(snapshot).get("messages")
    return glimpse(messages[-1]) if isinstance(messages, list) and messages else ""


def with_status(store: SessionStore, row: Overview) -> Overview:
    """The same with its status. Who waits, failed or runs is not complete, whatever its app said.

    Raises:
        CorruptSessionError: what is stored of it is damaged.
    """
    if row.status is not None:
        return row
    stored = Reader(store).latest(row.session)
    status = DONE if stored is None else status_of(row.session, stored)
    return row._replace(status="complete" if row.complete and status == DONE else status)


def _part(state: dict[str, Any], name: str) -> dict[str, Any]:
    found = state.get(name)
    return found if isinstance(found, dict) else {}


def _whole(value: object) -> int | None:
    return value if type(value) is int else None
