"""States as checkpoints of the root namespace, and back.

A key of a state is a channel, with the channel's value. If a state is saved on a graph's thread,
what LangGraph keeps beside the state stays as it is: the next nodes and what they have seen, what
waits to be sent, and values that are stored as the writes to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final

from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.channels import KEYS, is_internal, named
from wren_sessions.checkpoints.get import Head
from wren_sessions.checkpoints.put import Put
from wren_sessions.checkpoints.renaming import COUNTERS, about_today
from wren_sessions.checkpoints.snapshots import load_about, loads, read_value, reading
from wren_sessions.checkpoints.versions import next_version
from wren_sessions.delta.encoder import Serializer, dump
from wren_sessions.errors import SerializationError
from wren_sessions.records import Life
from wren_sessions.serializers import new_checkpoint_id
from wren_sessions.serializers._channels import channels_of
from wren_sessions.serializers.limits import Budget
from wren_sessions.sessions.delta_channels import (
    Delta,
    check_settled,
    counters_after,
    deltas_apart,
    deltas_in,
    unknown,
)

CHECKPOINT_VERSION: Final = 4  # of LangGraph's checkpoints


class States:
    """States of the sessions of one store.

    Args:
        checkpoints: of the store.
        serde: turns values into bytes.
    """

    def __init__(self, checkpoints: Checkpoints, serde: Serializer) -> None:
        self._checkpoints = checkpoints
        self._serde = serde
        self._changes = channels_of(serde, "")

    async def read(self, session_id: str, head: Head) -> tuple[dict[str, Any], dict[str, Any]]:
        """The state of a checkpoint, and its metadata."""
        _, metadata = self._about(session_id, head)
        found = await self._deltas(session_id, head, metadata)
        with self._reading(session_id, head):
            return self._state(session_id, head, found), metadata

    def _reading(self, session_id: str, head: Head) -> AbstractContextManager[None]:
        return reading(session_id, head.stored, serde=self._serde)

    def _about(self, session_id: str, head: Head) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a checkpoint says besides its channels, and its metadata."""
        what = f"the metadata of session {session_id!r}"
        with self._reading(session_id, head):
            rest, metadata = load_about(self._serde, head.body.meta, what)
        if self._changes is not None:
            about_today(rest, metadata, self._changes)
        return rest, metadata

    def _state(self, session_id: str, head: Head, found: Mapping[str, Delta]) -> dict[str, Any]:
        state = {
            key: None if key in found else self._value(session_id, head, key)
            for key in head.data
            if not is_internal(key)
        }
        for key, delta in found.items():
            if not delta.is_known:
                unknown(session_id, key)
            state[key] = delta.value
            if delta.removed:
                del state[key]
        if KEYS not in head.data:
            return state
        members = self._value(session_id, head, KEYS)
        texts = {key: member for key, member in members.items() if isinstance(member, str)}
        return {texts.get(key, key): value for key, value in state.items()}

    def _value(self, session_id: str, head: Head, key: str) -> Any:
        what = f"{key!r} of session {session_id!r}"
        functions = self._changes.functions.get(key) if self._changes else None
        return read_value(head.body.values[key], self._serde, head.data[key], what, functions)

    async def _deltas(
        self, session_id: str, head: Head, metadata: Mapping[str, Any]
    ) -> dict[str, Delta]:
        with self._reading(session_id, head):
            stored = deltas_in(self._serde, session_id, head, metadata)
        apart = await deltas_apart(self._checkpoints, self._serde, session_id, head, metadata)
        return stored | apart

    def first(
        self, session_id: str, state: Mapping[str, Any], now: datetime, life: Life | None
    ) -> Put:
        """The first checkpoint of a session that is empty, or, without a life, not there."""
        values = self._channels(session_id, state)
        return Put(
            session=session_id,
            name=("", new_checkpoint_id()),
            parent=None,
            values=values,
            versions={key: next_version(None) for key in values},
            seen={},
            rest={"v": CHECKPOINT_VERSION, "ts": now.isoformat(), "updated_channels": None},
            metadata={"source": "update", "step": 0, "parents": {}},
            changed=values.keys(),
            new=life is None,
            revision=None if life is None else life.revision,
            life=life,
        )

    async def following(
        self, session_id: str, head: Head, state: Mapping[str, Any], now: datetime
    ) -> Put:
        """A checkpoint that continues another one, with this state.

        What LangGraph keeps beside the state stays as it is: the nodes that come next, and what
        they have seen. Which channels changed is not said, or only these nodes would run.
        """
        rest, metadata = self._about(session_id, head)
        found = await self._deltas(session_id, head, metadata)
        values = self._channels(session_id, state)
        changed = {
            key
            for key, value in values.items()
            if self._differs(session_id, key, value, head, found)
        }
        left = found.keys() - changed - {key for key, delta in found.items() if delta.removed}
        gone = left - values.keys()
        left -= gone
        apart = {key for key in left if not found[key].stored}
        check_settled(session_id, head, apart, self._serde)
        counters = counters_after(metadata, found, changed=changed, removed=gone)
        versions = head.body.versions
        following = next_version(max(versions.values(), default=None))
        kept = {key for key in versions if is_internal(key) and key != KEYS}
        kept |= values.keys() | found.keys()
        return Put(
            session=session_id,
            name=("", new_checkpoint_id()),
            parent=head.stored.name,
            values={key: value for key, value in values.items() if key not in left}
            | dict.fromkeys(gone),
            versions={
                key: following if key in changed | gone else versions.get(key, following)
                for key in (*versions, *values)
                if key in kept
            },
            seen=head.body.seen,
            rest={**rest, "ts": now.isoformat(), "updated_channels": None},
            metadata={
                "source": "update",
                "step": metadata.get("step", -1) + 1,
                "parents": metadata.get("parents", {}),
            }
            | ({COUNTERS: counters} if counters else {}),
            changed=changed | gone,
            revision=head.life.revision,
            life=head.life,
        )

    def _channels(self, session_id: str, state: Mapping[str, Any]) -> dict[str, Any]:
        """A state as channels: under plain text, and with the members of enums that were keys."""
        values, members = named(state)
        if not members:
            return values
        what = f"the keys of session {session_id!r}"
        typed = dump(self._serde, members, what)
        with Budget(len(typed[1]), what=what):
            found = loads(self._serde, typed, what)
        for name, member in members.items():
            if type(found.get(name)) is not type(member):
                raise SerializationError(
                    f"key {member!r} of the state of session {session_id!r} would come back as "
                    f"{type(found.get(name)).__name__}; nothing was written: use its value as key"
                )
        return values | {KEYS: members}

    def _differs(
        self, session_id: str, key: str, value: Any, head: Head, found: Mapping[str, Delta]
    ) -> bool:
        what = f"{key!r} of session {session_id!r}"
        if self._changes is not None:
            value = self._changes.versioned(key, value)
        typed = dump(self._serde, value, what)
        delta = found.get(key)
        if delta is None:
            return head.data.get(key) != typed
        if delta.removed or not delta.is_known:
            return True
        before = delta.value
        if self._changes is not None:
            before = self._changes.versioned(key, before)
        return dump(self._serde, before, what) != typed
