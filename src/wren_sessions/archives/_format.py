"""The file of a session: JSON lines, written and checked. Pure.

The first line says what the file is, and which session is in it. Then comes one line per
checkpoint. The last line has the number of lines and their digest. The lines of the checkpoints
append to one stream of bytes for the whole file. A value is its serializer's type tag and its
pieces. A piece is text (bytes in base64), or ``[offset, length]`` in that stream, which may include
what this line appends. So a list that grows is in the file only once. The format is described in
``docs/reference/files.md``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias

from wren_sessions.checkpoints.codec import unpadded
from wren_sessions.checkpoints.versions import Version
from wren_sessions.errors import CorruptSessionError
from wren_sessions.records import NOTHING_NOTED, Life, Name, Notes, Span
from wren_sessions.ttl import Override

FORMAT: Final = "wren-sessions/session"
VERSION: Final = 1

Piece: TypeAlias = bytes | Span


@dataclass(slots=True)
class Value:
    """A value in the file.

    Attributes:
        kind: the serializer's type tag.
        pieces: bytes, or their place in the file's stream.
    """

    kind: str
    pieces: Sequence[Piece]


@dataclass(slots=True, kw_only=True)
class Write:
    """A pending write in the file."""

    key: str
    task_id: str
    index: int
    path: str
    channel: str
    value: Value


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """One line of the file: a checkpoint with its pending writes.

    Attributes:
        name: its namespace and id.
        order: its place in the order in which the session's checkpoints were written.
        parent_id: the checkpoint that it continues.
        head: type tag and bytes of everything in it except its values.
        versions: the version of each channel.
        seen: for each node, the version of each channel that it has seen.
        values: the value of each channel that has one.
        persistent_subgraphs: whether a subgraph keeps its own memory beside it.
        skewed: whether it, or one before it, has a lower id than the one that it continues.
        append: the bytes that it adds to the file's stream.
        writes: its pending writes.
    """

    name: Name
    order: int
    parent_id: str | None
    head: tuple[str, bytes]
    versions: dict[str, Version]
    seen: dict[str, dict[str, Version]]
    values: dict[str, Value]
    persistent_subgraphs: bool = False
    skewed: bool = False
    append: bytes = b""
    writes: list[Write] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Opening:
    """The first line of the file.

    Attributes:
        session: the session's id.
        exported_at: when the export began, ISO 8601.
        checkpoints: how many there are.
        life: the session's `Life` when it was exported.
        idle: its own idle timeout; see `SessionInfo.idle`.
        heads: the latest checkpoint of each namespace.
        state: the session's header.
        notes: its owner, title, tags and attributes.
    """

    session: str
    exported_at: str
    checkpoints: int
    life: Life
    idle: Override
    heads: tuple[Name, ...]
    state: bytes
    notes: Notes = NOTHING_NOTED


# --- writing --------------------------------------------------------------------------------------


class Lines:
    """Writes and counts the lines of one file."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._count = 0

    def opening(self, opening: Opening) -> str:
        """The first line."""
        life, notes = opening.life, {}
        if opening.notes != NOTHING_NOTED:
            about = opening.notes.about.decode("utf-8", "surrogateescape")
            notes = {"owner": opening.notes.owner, "about": about}
        return self._line(
            {
                "format": FORMAT,
                "version": VERSION,
                "session": opening.session,
                "exported_at": opening.exported_at,
                "checkpoints": opening.checkpoints,
                "created_ms": life.created_ms,
                "updated_ms": life.updated_ms,
                "deadline_ms": life.deadline_ms,
                "pinned": life.pinned,
                "idle": opening.idle,
                "incarnation": life.incarnation,
                "revision": life.revision,
                "heads": [list(name) for name in opening.heads],
                "state": opening.state.decode("utf-8", "surrogateescape"),
                **notes,
            }
        )

    def checkpoint(self, found: Checkpoint) -> str:
        """The line of a checkpoint."""
        fields = {
            "checkpoint": found.name[1],
            "namespace": found.name[0],
            "order": found.order,
            "parent": found.parent_id,
            "head": [found.head[0], _text(found.head[1])],
            "versions": _versions(found.versions),
            "seen": {node: _versions(seen) for node, seen in found.seen.items()},
            "values": {channel: _value(value) for channel, value in found.values.items()},
            "memories": found.persistent_subgraphs,
            "append": _text(found.append),
            "writes": [
                {
                    "key": write.key,
                    "task": write.task_id,
                    "index": write.index,
                    "path": write.path,
                    "channel": write.channel,
                    "value": _value(write.value),
                }
                for write in found.writes
            ],
        }
        return self._line({**fields, "skewed": True} if found.skewed else fields)

    def end(self) -> str:
        """The last line."""
        return _dump({"end": True, "lines": self._count, "sha256": self._digest.hexdigest()})

    def _line(self, fields: dict[str, Any]) -> str:
        line = _dump(fields)
        self._count += 1
        self._digest.update(line.encode())
        return line


def _dump(fields: dict[str, Any]) -> str:
    """JSON in ASCII only, so that no program that splits or recodes lines can change it."""
    return json.dumps(fields, separators=(",", ":")) + "\n"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _versions(versions: dict[str, Version]) -> dict[str, Version]:
    return {
        channel: unpadded(version) if isinstance(version, str) else version
        for channel, version in versions.items()
    }


def _value(value: Value) -> list[Any]:
    pieces = (_text(piece) if isinstance(piece, bytes) else list(piece) for piece in value.pieces)
    return [value.kind, *pieces]


def refuse(session: str, why: str) -> NoReturn:
    """Raise the error for a file that cannot be used."""
    if not session:
        raise CorruptSessionError(
            f"this is not an export of a session: {why}; nothing was written. Take a .jsonl file "
            "that `wren-sessions export` or export_session wrote: its .json, .md and .html are "
            "conversations, which cannot be imported",
            session="",
        )
    raise CorruptSessionError(
        f"the export of session {session!r} cannot be imported: {why}; "
        "nothing was written. Use another copy of the file",
        session=session,
    )
