"""Builds a session's transcript from what is stored.

A list of messages may be stored as the writes to it (LangGraph's `DeltaChannel`). Then its value is
stored at some checkpoints only, and elsewhere, the application's reducer makes it. Here it is made
as for LangGraph's messages: a written message is appended, replaces the one with its id, or removes
one. The messages of such a list have neither checkpoint nor time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.channels import messages_channel
from wren_sessions.checkpoints.codec import CheckpointRecord, writes_of
from wren_sessions.checkpoints.snapshots import in_order, loads, opened, read_record, reading
from wren_sessions.checkpoints.waiting import next_step
from wren_sessions.delta.encoder import Serializer
from wren_sessions.records import ArenaParts, Stored
from wren_sessions.serializers.limits import Budget, limits_of
from wren_sessions.sessions.delta_channels import replayed, unwrapped
from wren_sessions.sessions.operations import SessionOperations, not_found
from wren_sessions.transcripts._content import text_or_none
from wren_sessions.transcripts._data import Message, Transcript
from wren_sessions.transcripts._messages import (
    UNKNOWN,
    answered,
    groups_of,
    message_of,
    messages_of,
)
from wren_sessions.transcripts._origins import ALL, Dated, Head, Origins
from wren_sessions.transcripts._questions import interrupts_in, question_text
from wren_sessions.transcripts._values import by_name
from wren_sessions.ttl import is_shown, utc_time

_OURS: Final = "wren_sessions.serializers"
_LANGGRAPHS: Final = "langgraph.checkpoint.serde.jsonplus"
_REMOVE: Final = "remove"
_REMOVE_ALL: Final = "__remove_all__"


def reader(given: Serializer | None) -> Serializer:
    """A serializer that reads what `given` wrote.

    What the package's own serializers and LangGraph's default one write is read as plain data,
    which needs none of the application's classes. Any other serializer reads its own.
    """
    module = _OURS if given is None else type(given).__module__
    if given is None or module == _LANGGRAPHS or module.startswith(_OURS):
        from wren_sessions.serializers.plain import PlainSerializer

        return PlainSerializer()
    return given


async def transcript_of(
    operations: SessionOperations, session: str, checkpoint_id: str | None, channel: str
) -> Transcript:
    """The transcript of a session of `Sessions`; see `Sessions.transcript`."""
    job = Transcribing(operations.checkpoints, reader(operations.serde))
    return await job.run(session, checkpoint_id, channel)


class Transcribing:
    """Makes transcripts of the sessions of one store.

    Args:
        checkpoints: those of the store.
        serde: reads values as plain data, or as what the application keeps.
        dated: which messages are to have times; all by default.
    """

    def __init__(self, checkpoints: Checkpoints, serde: Serializer, dated: Dated = ALL) -> None:
        self._checkpoints = checkpoints
        self._serde = serde
        self._wanted = dated

    async def run(self, session: str, checkpoint_id: str | None, channel: str) -> Transcript:
        """The transcript of a session, as it was at a checkpoint; None is the latest one."""
        found = await self._checkpoints.reading.load(session, "", checkpoint_id)
        info = await self._checkpoints.store.info(session)
        if info is None or (found is None and checkpoint_id is not None):
            not_found(session, checkpoint_id)
        created, written = utc_time(info.life.created_ms), utc_time(info.life.updated_ms)
        empty = Transcript(
            session=session,
            messages=(),
            created=created,
            updated=written,
            owner=info.owner,
            title=info.title,
            tags=info.tags,
        )
        if found is None:
            return empty
        stored, arena = found
        data, body = read_record(session, stored, arena, self._checkpoints.protection, self._serde)
        messages = await self._said(session, stored, body, channel, data)
        with reading(session, stored, serde=self._serde):
            asked = tuple(self._questions(session, stored, arena, body))
        return replace(
            empty,
            messages=answered((*messages, *asked)),
            checkpoint_id=stored.name[1],
            updated=self._stamp(body.meta) or written,
        )

    async def _said(
        self,
        session: str,
        stored: Stored,
        body: CheckpointRecord,
        name: str,
        data: Mapping[str, tuple[str, bytes]],
    ) -> tuple[Message, ...]:
        """The messages in the list, or put together from what was written to it."""
        channel = messages_channel(body.versions, name)
        typed = data.get(channel)
        if typed is None:
            if channel not in body.versions:
                return ()
            return messages_of(await self._rebuilt(session, stored.name[1], channel))
        with reading(session, stored, serde=self._serde):
            value = loads(self._serde, typed, f"{channel!r} of session {session!r}")
        groups = groups_of(unwrapped(value))
        messages = tuple(message for group in groups for message in group)
        foreign = not isinstance(value, list) or any(each.role == UNKNOWN for each in messages)
        if channel != name and foreign:
            return messages_of(by_name({channel: value}).get(name))
        if not isinstance(value, list):
            return messages
        head = Head(stored.name[1], body, *typed, count=len(groups))
        return await self._dated(session, channel, head, groups)

    async def _rebuilt(self, session: str, checkpoint_id: str, channel: str) -> list[Any]:
        """The messages of a list at a checkpoint that does not store it."""
        read = self._checkpoints.histories.read
        histories = await read(session, "", checkpoint_id, [channel], self._serde)
        base, writes = replayed(histories[channel])
        found: dict[object, Any] = {}
        for value in writes if base is None else [base, *writes]:
            for raw in value if isinstance(value, list) else [value]:
                message = message_of(raw)
                if message.role != _REMOVE:
                    found[object() if message.id is None else message.id] = raw
                elif message.id == _REMOVE_ALL:
                    found.clear()
                else:
                    found.pop(message.id, None)
        return list(found.values())

    async def _dated(
        self, session: str, channel: str, head: Head, groups: Sequence[Sequence[Message]]
    ) -> tuple[Message, ...]:
        """Messages with the checkpoint and time in which their element first appeared."""
        walk = Origins(self._checkpoints, self._serde, session, channel, head, wanted=self._wanted)
        origins = await walk.find()
        times = {name: self._stamp(walk.heads[name]) for name in set(origins.values())}
        return tuple(
            replace(message, checkpoint_id=origins[index], time=times[origins[index]])
            if index in origins
            else message
            for index, group in enumerate(groups)
            for message in group
        )

    def _stamp(self, head: tuple[str, bytes]) -> datetime | None:
        """When a checkpoint was made, as far as it says so."""
        with Budget(len(head[1]), limits_of(self._serde).max_memory_bytes, what="a checkpoint"):
            rest, _ = loads(self._serde, head, "a checkpoint")
        stamp = rest.get("ts") if isinstance(rest, Mapping) else None
        try:
            found = datetime.fromisoformat(stamp) if isinstance(stamp, str) else None
        except ValueError:
            return None
        if found is None or not is_shown(found):
            return None
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found

    def _questions(
        self, session: str, stored: Stored, arena: ArenaParts, body: CheckpointRecord
    ) -> Iterator[Message]:
        """The questions that wait for an answer."""
        what = f"a pending write of checkpoint {stored.name[1]!r}"
        writes = in_order(writes_of(session, stored, body))
        time = self._stamp(body.meta)
        step = next_step((write.task_id, write.channel, write) for write in writes)
        for write in step.questions:
            typed, *_ = opened(session, write.value, arena, self._checkpoints.protection, what)
            found = loads(self._serde, typed, f"{what} of session {session!r}")
            for asked in interrupts_in(found):
                yield Message(
                    role="interrupt",
                    text=question_text(asked.value),
                    id=text_or_none(asked.id),
                    time=time,
                    checkpoint_id=stored.name[1],
                    pending=True,
                )
