"""Read the file of a session. Every line is checked before anything is written. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from wren_sessions.archives._format import (
    FORMAT,
    VERSION,
    Checkpoint,
    Opening,
    Value,
    Write,
    refuse,
)
from wren_sessions.delta.extents import Extent, shared_too_often
from wren_sessions.errors import CorruptSessionError, FormatVersionError, InvalidSessionIdError
from wren_sessions.keys import check_owner
from wren_sessions.records import Life, Name, Notes, Span
from wren_sessions.serializers.limits import OverBudgetError, budget_for
from wren_sessions.ttl import MAX_MS, MAX_TIME_MS

MAX_NUMBER: Final = 10**15
_WRONG: Final = (LookupError, TypeError, ValueError, AttributeError, binascii.Error)


@dataclass(slots=True)
class Export:
    """A whole file.

    Attributes:
        opening: its first line.
        checkpoints: the checkpoints, by name, in the order of the file.
        stream: the bytes that the checkpoints appended.
    """

    opening: Opening
    checkpoints: dict[Name, Checkpoint] = field(default_factory=dict)
    stream: bytes = b""


def exports(lines: Iterable[str | bytes]) -> Iterator[Export]:
    """The exports in a file; each is yielded after all of it was read and checked.

    Raises:
        CorruptSessionError: a line is damaged or missing.
        FormatVersionError: a newer version of this package wrote it.
    """
    parser: _Parser | None = None
    name = getattr(lines, "name", None)
    for number, raw in enumerate(lines, 1):
        line = raw.encode("utf-8", "replace") if isinstance(raw, str) else bytes(raw)
        line = line.removeprefix(b"\xef\xbb\xbf").strip(b"\r\n \t")
        if not line:
            continue
        parser = parser or _Parser()
        with _located(name, number):
            whole = parser.take(line)
        if whole:
            yield parser.export()
            parser = None
    if parser is not None:
        parser.refuse("it is cut off: its last line is missing")


@contextmanager
def _located(name: object, number: int) -> Iterator[None]:
    """Put the file's name, if it has one, and the line number in front of an error."""
    try:
        yield
    except CorruptSessionError as error:
        file = f"{name}, " if isinstance(name, str) else ""
        raise CorruptSessionError(
            f"{file}line {number}: {error.message}", session=error.session
        ) from None


def opening_of(line: str | bytes, name: str | None = None) -> Opening:
    """The contents of the first line of a file; raises the errors of `exports`."""
    with _located(name, 1):
        return _opening(_fields(line.encode() if isinstance(line, str) else line, ""))


class _Parser:
    """Reads one export."""

    def __init__(self) -> None:
        self._opening: Opening | None = None
        self._found: dict[Name, Checkpoint] = {}
        self._stream = bytearray()
        self._digest = hashlib.sha256()
        self._count = 0

    def refuse(self, why: str) -> None:
        refuse("" if self._opening is None else self._opening.session, why)

    def take(self, line: bytes) -> bool:
        """Read one line, and return whether it was the last one."""
        session = "" if self._opening is None else self._opening.session
        fields = _fields(line, session)
        if self._opening is None:
            self._opening = _opening(fields)
        elif "end" in fields:
            self._end(fields)
            return True
        else:
            self._checkpoint(fields)
        self._count += 1
        self._digest.update(line + b"\n")
        return False

    def export(self) -> Export:
        assert self._opening is not None  # noqa: S101 -- there is no last line without a first one
        return Export(self._opening, self._found, bytes(self._stream))

    def _checkpoint(self, fields: dict[str, Any]) -> None:
        try:
            found = _checkpoint(fields)
        except _WRONG as error:
            self.refuse(_said(error, "the line is damaged"))
            raise
        self._stream += found.append
        values = [*found.values.values(), *(write.value for write in found.writes)]
        spans = [piece for v in values for piece in v.pieces if not isinstance(piece, bytes)]
        if any(span.offset < 0 or span.length < 1 for span in spans):
            self.refuse("the line is damaged")
        if any(span.end > len(self._stream) for span in spans):
            self.refuse("the line refers to bytes that are not there")
        again = shared_too_often(
            [
                [Extent(*piece, 0) for piece in value.pieces if not isinstance(piece, bytes)]
                for value in values
            ]
        )
        if again is not None:
            self.refuse(f"no export has such a line: {again}")
        if found.name in self._found:
            self.refuse(f"checkpoint {found.name[1]!r} is there twice")
        self._found[found.name] = found

    def _end(self, fields: dict[str, Any]) -> None:
        opening = self._opening
        if fields.get("lines") != self._count or opening is None:
            self.refuse("lines are missing")
        elif fields.get("sha256") != self._digest.hexdigest():
            self.refuse("a line was changed")
        elif len(self._found) != opening.checkpoints:
            self.refuse("checkpoints are missing")
        elif len({namespace for namespace, _ in opening.heads}) != len(opening.heads):
            self.refuse("a namespace is there twice")
        elif not self._found.keys() >= set(opening.heads):
            self.refuse("the latest checkpoint of a namespace is missing")
        elif {found.order for found in self._found.values()} != set(range(len(self._found))):
            self.refuse("the order of its checkpoints is damaged")


def _fields(line: bytes, session: str) -> dict[str, Any]:
    try:
        budget_for(len(line)).build_json(line)
        fields = json.loads(line)
    except OverBudgetError as error:
        refuse(session, error.why)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        refuse(session, "a line is damaged or cut off" if session else "its first line is not JSON")
    return fields


def _opening(fields: dict[str, Any]) -> Opening:
    session = fields.get("session")
    if fields.get("format") != FORMAT:
        refuse("", "it does not start like one")
    if not isinstance(session, str):
        raise CorruptSessionError(
            'this export cannot be imported: the "session" of its first line is not a text; '
            "nothing was written. Use another copy of the file",
            session="",
        )
    version = fields.get("version")
    if type(version) is not int or version < 1:
        refuse(session, "its version is no number")
    if version > VERSION:
        raise FormatVersionError(
            f"the export of session {session!r} has format version {version}, and this "
            f"wren-sessions reads up to {VERSION}: upgrade it",
            session=session,
            found=version,
            supported=VERSION,
        )
    try:
        return _checked_opening(session, fields)
    except _WRONG as error:
        refuse(session, _said(error, "its first line is damaged"))


def _checked_opening(session: str, fields: dict[str, Any]) -> Opening:
    deadline, idle = fields["deadline_ms"], fields["idle"]
    life = Life(
        incarnation=_is(str, fields["incarnation"]),
        created_ms=_time(fields, "created_ms"),
        updated_ms=_time(fields, "updated_ms"),
        now_ms=_time(fields, "updated_ms"),
        deadline_ms=None if deadline is None else _time(fields, "deadline_ms"),
        pinned=_is(bool, fields["pinned"]),
        revision=_between(0, "revision", fields["revision"], MAX_NUMBER),
    )
    return Opening(
        session=session,
        exported_at=_is(str, fields["exported_at"]),
        checkpoints=_is(int, fields["checkpoints"]),
        life=life,
        idle=idle if idle in {None, "none"} else _between(1, "idle", idle, MAX_MS),
        heads=tuple((_is(str, namespace), _is(str, id_)) for namespace, id_ in fields["heads"]),
        state=_is(str, fields["state"]).encode("utf-8", "surrogateescape"),
        notes=_notes(fields),
    )


def _notes(fields: dict[str, Any]) -> Notes:
    owner = fields.get("owner")
    about = _is(str, fields.get("about", ""))
    if about:
        _is(dict, json.loads(about))
    if owner is not None:
        try:
            check_owner(_is(str, owner))
        except InvalidSessionIdError as error:
            raise ValueError(str(error)) from None
    return Notes(owner, about.encode("utf-8", "surrogateescape"))


def _checkpoint(fields: dict[str, Any]) -> Checkpoint:
    kind, head = fields["head"]
    parent = fields["parent"]
    return Checkpoint(
        name=(_is(str, fields["namespace"]), _is(str, fields["checkpoint"])),
        order=_is(int, fields["order"]),
        parent_id=None if parent is None else _is(str, parent),
        head=(_is(str, kind), _bytes(head)),
        versions=_versions(fields["versions"]),
        seen={node: _versions(seen) for node, seen in _is(dict, fields["seen"]).items()},
        values={channel: _value(v) for channel, v in _is(dict, fields["values"]).items()},
        persistent_subgraphs=_is(bool, fields["memories"]),
        skewed=_is(bool, fields.get("skewed", False)),
        append=_bytes(fields["append"]),
        writes=[_write(write) for write in _is(list, fields["writes"])],
    )


def _write(fields: dict[str, Any]) -> Write:
    return Write(
        key=_is(str, fields["key"]),
        task_id=_is(str, fields["task"]),
        index=_between(-MAX_NUMBER, "index", fields["index"], MAX_NUMBER),
        path=_is(str, fields["path"]),
        channel=_is(str, fields["channel"]),
        value=_value(fields["value"]),
    )


def _versions(raw: Any) -> dict[str, Any]:
    for channel, version in _is(dict, raw).items():
        if type(version) is int or (type(version) is float and not math.isfinite(version)):
            _between(-MAX_NUMBER, f"the version of channel {channel!r}", version, MAX_NUMBER)
        elif type(version) not in {str, float}:
            raise TypeError
    return dict(raw)


def _value(raw: Any) -> Value:
    kind, first, *others = raw
    return Value(_is(str, kind), [_piece(piece) for piece in (first, *others)])


def _piece(raw: Any) -> bytes | Span:
    if isinstance(raw, str):
        return _bytes(raw)
    offset, length = raw
    return Span(_is(int, offset), _is(int, length))


def _bytes(raw: Any) -> bytes:
    return base64.b64decode(_is(str, raw), validate=True)


class _RangeError(ValueError):
    """A number is out of range; its text says which."""


def _said(error: BaseException, otherwise: str) -> str:
    """What is wrong with a line: the number that is out of range, or a general text."""
    return str(error) if isinstance(error, _RangeError) else otherwise


def _time(fields: dict[str, Any], name: str) -> int:
    return _between(-MAX_TIME_MS, name, fields[name], MAX_TIME_MS)


def _between(least: int, name: str, value: Any, most: int) -> int:
    if type(value) not in {int, float}:
        raise TypeError
    if not (type(value) is int and least <= value <= most):
        raise _RangeError(f"{name} is {str(value)[:40]}, and must be from {least} to {most}")
    return int(value)


def _is(kind: Any, value: Any) -> Any:
    """The value, if it has exactly this type."""
    if type(value) is not kind:
        raise TypeError
    return value
