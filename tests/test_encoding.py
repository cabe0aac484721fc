"""Bodies of records and writes: they come back as they were, and damage is always noticed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final
from zlib import crc32

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wren_sessions.checkpoints.codec import (
    FORMAT,
    CheckpointRecord,
    WriteBody,
    decode_record,
    encode_record,
    encode_write,
    writes_of,
)
from wren_sessions.checkpoints.versions import Version
from wren_sessions.delta.base import StoredValue
from wren_sessions.delta.extents import Extent, NewExtent
from wren_sessions.errors import (
    CorruptSessionError,
    DecryptionError,
    FormatVersionError,
    SerializationError,
)
from wren_sessions.keys import write_key
from wren_sessions.records import Name, Stored, StoredWrite

SESSION: Final = "cli_20251108_145739"
WHAT: Final = "checkpoint 'c1'"
NAME: Final = ("", "c1")
NOTICED: Final = (CorruptSessionError, DecryptionError, FormatVersionError)

# --- anything that a record may say ---------------------------------------------------------------

names = st.text(max_size=20)
numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.sampled_from([1, 1.0, True]),
)
texts = st.one_of(
    st.text(max_size=30).filter(lambda text: not text.partition(".")[0].isdecimal()),
    st.builds("{:032}.{}".format, st.integers(0, 10**32 - 1), st.text(max_size=8)),
    st.builds("{:032}".format, st.integers(0, 10**32 - 1)),
    st.sampled_from([f"{1:032}.aBcDeFgH", "0" * 32, f"{'0' * 30}x2.a", f"{'0' * 22}abcdefghij.a"]),
)
counts = st.integers(0, 2**63)
pieces = st.one_of(
    st.binary(max_size=50),
    st.builds(Extent, counts, counts, st.integers(0, 2**32 - 1)),
    st.builds(NewExtent, counts, counts, st.integers(0, 2**32 - 1)),
)
values = st.builds(StoredValue, names, st.lists(pieces, max_size=4))


def bodies_with(versions: st.SearchStrategy[Version]) -> st.SearchStrategy[CheckpointRecord]:
    """Bodies with such versions."""
    return st.builds(
        CheckpointRecord,
        parent_id=st.none() | names,
        meta=st.tuples(names, st.binary(max_size=50)),
        versions=st.dictionaries(names, versions, max_size=5),
        seen=st.dictionaries(names, st.dictionaries(names, versions, max_size=3), max_size=4),
        values=st.dictionaries(names, values, max_size=5),
        persistent_subgraphs=st.booleans(),
    )


bodies = bodies_with(numbers) | bodies_with(
    texts
)  # one kind: see `wren_sessions.checkpoints.versions`
writes = st.builds(
    WriteBody,
    task_id=names,
    index=st.integers(-4, 2**31),
    path=names,
    channel=names,
    value=st.builds(StoredValue, names, st.lists(pieces, max_size=4)),
)


def typed(value: Any) -> Any:
    """A value that differs from others that are merely equal, as 1 is from True."""
    if isinstance(value, dict):
        return {key: typed(found) for key, found in value.items()}
    return type(value).__name__, value


@given(bodies)
def test_a_body_comes_back_as_it_was(body: CheckpointRecord) -> None:
    """Names, versions and pieces keep their values, their order and their types."""
    found = decode_record(encode_record(body, NAME), SESSION, WHAT, NAME)
    assert found == body
    assert typed(found.versions) == typed(body.versions)
    assert typed(found.seen) == typed(body.seen)
    assert [*found.versions, *found.seen, *found.values] == [
        *body.versions,
        *body.seen,
        *body.values,
    ]
    for channel, value in body.values.items():
        assert [type(p) for p in found.values[channel].pieces] == [type(p) for p in value.pieces]


shorter = st.builds("{:010}.x".format, st.integers(0, 999))  # they are read with 32 digits


class Label(str):
    """Text that is not quite text."""

    __slots__ = ()


@given(bodies_with(shorter) | bodies_with(numbers | texts | shorter | texts.map(Label)))
def test_a_body_keeps_its_bytes_where_reading_them_makes_the_same(body: CheckpointRecord) -> None:
    """Such a body is not decoded again; versions that others had before it make no difference."""
    fresh = {name: _fresh(version) for name, version in body.versions.items()}
    for each in (body, replace(body, versions=fresh)):
        data = encode_record(each, NAME)
        found = decode_record(data, SESSION, WHAT, NAME)
        if each.encoded is not None:
            assert each.encoded == data
            assert found == each
            assert typed(found.versions) == typed(each.versions)
            assert typed(found.seen) == typed(each.seen)


def _fresh(version: Version) -> Version:
    """An equal version that is another object, if it is text."""
    return version[:1] + version[1:] if type(version) is str else version


def test_a_usual_body_keeps_its_bytes() -> None:
    """Versions as LangGraph makes them are read as they were."""
    version = f"{1:032}.abcdefgh"
    body = CheckpointRecord("p", ("msgpack", b""), {"a": version}, {"node": {"b": version}}, {})
    assert encode_record(body, NAME) == body.encoded


def _decoded(data: bytes, session: str = SESSION, _: str = WHAT, name: Name = NAME) -> WriteBody:
    (found,) = _read_back(StoredWrite("task/0", data), session, name)
    return found


def _read_back(write: StoredWrite, session: str = SESSION, name: Name = NAME) -> list[WriteBody]:
    return writes_of(session, Stored(name=name, body=b"", base=0, writes=(write,)))


@given(writes)
def test_a_write_comes_back_as_it_was(write: WriteBody) -> None:
    """Task, index, path, channel and value of a pending write are kept."""
    kept = StoredWrite(write_key(write.task_id, write.index), encode_write(write, NAME))
    assert _read_back(kept) == [write]
    with pytest.raises(CorruptSessionError):
        _read_back(kept._replace(key="another/0"))


def test_versions_that_are_equal_keep_their_types() -> None:
    """1, 1.0 and True are three versions, also where one record holds them all."""
    mixed: dict[str, Any] = {"int": 1, "float": 1.0, "bool": True, "again": 1}
    body = CheckpointRecord(
        None, ("msgpack", b""), mixed, {"node": dict(reversed(mixed.items()))}, {}
    )
    found = decode_record(encode_record(body, NAME), SESSION, WHAT, NAME)
    assert typed(found.versions) == typed(mixed)
    assert typed(found.seen["node"]) == typed(mixed)


def test_a_channel_without_a_value_or_a_version_is_kept() -> None:
    """A version without a value, and a value without a version, are two different things."""
    value = StoredValue("msgpack", [b"x"])
    body = CheckpointRecord("p", ("msgpack", b""), {"only version": 1}, {}, {"only value": value})
    found = decode_record(encode_record(body, NAME), SESSION, WHAT, NAME)
    assert set(found.versions) == {"only version"}
    assert set(found.values) == {"only value"}


def test_a_version_stands_once_in_a_record() -> None:
    """A hundred nodes that saw the same version do not store it a hundred times."""
    version = f"{1:032}.abcdefgh"
    seen: dict[str, dict[str, Version]] = {str(node): {"messages": version} for node in range(100)}
    data = encode_record(
        CheckpointRecord(None, ("msgpack", b""), {"messages": version}, seen, {}), NAME
    )
    assert data.count(b"abcdefgh") == 1
    assert data.count(b"\xb30000000001.abcdefgh") == 1  # without the zeros that readers put back


@pytest.mark.parametrize(
    "body",
    [
        CheckpointRecord(None, ("msgpack", b""), {"a": 2**70}, {}, {}),
        CheckpointRecord(None, ("msgpack", b""), {"\ud800": 1}, {}, {}),
        CheckpointRecord(None, ("msgpack", b""), {"a": object()}, {}, {}),  # type: ignore[dict-item]
    ],
    ids=["huge", "surrogate", "no version"],
)
def test_what_no_record_can_hold_is_an_error_of_ours(body: CheckpointRecord) -> None:
    """Names and versions that cannot be written down are refused before anything is."""
    with pytest.raises(SerializationError, match="channel names and versions"):
        encode_record(body, NAME)


# --- damage ---------------------------------------------------------------------------------------


@given(bodies, st.data())
@settings(max_examples=200)
def test_a_changed_byte_is_noticed(body: CheckpointRecord, data: st.DataObject) -> None:
    """Whichever byte of a record changes, it is an error that names the session, and no other."""
    encoded = bytearray(encode_record(body, NAME))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(NOTICED) as caught:
        decode_record(bytes(encoded), SESSION, WHAT, NAME)
    assert SESSION in str(caught.value)
    # The byte that tells how it is packed may have become that of encrypted data.
    assert isinstance(caught.value, CorruptSessionError | DecryptionError | FormatVersionError)
    assert caught.value.session == SESSION


@given(writes, st.data())
def test_a_changed_byte_of_a_write_is_noticed(write: WriteBody, data: st.DataObject) -> None:
    """The same for pending writes."""
    encoded = bytearray(encode_write(write, NAME))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(NOTICED):
        _decoded(bytes(encoded))


@given(bodies, st.data())
def test_a_truncated_body_is_noticed(body: CheckpointRecord, data: st.DataObject) -> None:
    """Bytes missing at the end are an error."""
    encoded = encode_record(body, NAME)
    with pytest.raises(CorruptSessionError):
        decode_record(encoded[: data.draw(st.integers(0, len(encoded) - 1))], SESSION, WHAT, NAME)


@given(bodies, st.binary(min_size=1, max_size=20))
def test_bytes_too_many_are_noticed(body: CheckpointRecord, more: bytes) -> None:
    """So are bytes that do not belong there."""
    with pytest.raises(CorruptSessionError):
        decode_record(encode_record(body, NAME) + more, SESSION, WHAT, NAME)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@given(anything | st.lists(anything, min_size=5, max_size=7), st.sampled_from(["body", "write"]))
@settings(max_examples=300)
def test_a_frame_with_other_contents_is_no_record(contents: Any, what: str) -> None:
    """A frame that is whole but holds something else is an error, or reads as what it is."""
    packed = msgpack.packb(contents)
    frame = bytes([FORMAT, 0]) + crc32(packed).to_bytes(4, "big") + packed
    decode = decode_record if what == "body" else _decoded
    try:
        decode(frame, SESSION, WHAT, NAME)
    except CorruptSessionError as error:
        assert error.session == SESSION  # noqa: PT017 -- it need not be raised


def _framed(contents: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(contents)
    return bytes([FORMAT, 0]) + crc32(packed).to_bytes(4, "big") + packed


@pytest.mark.parametrize("wrong", [0.5, None, [], 7, "1", -1, b"x"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_range_of_another_type_is_damage(at: int, wrong: object) -> None:
    """Offset and length are counts, a checksum is a number or a digest."""
    if wrong in ((7,), (7,), (7, -1, b"x"))[at]:
        return
    piece: list[Any] = [0, 1, 2]
    piece[at] = wrong
    value = [0, "safe", piece]
    record: list[Any] = [None, ["safe", b""], ["messages"], [], [], {}, [value]]
    write = ["task", 0, "", "messages", "safe", piece]
    for contents, decode in ((record, decode_record), (write, _decoded)):
        with pytest.raises(CorruptSessionError):
            decode(_framed(contents), SESSION, WHAT, NAME)


@pytest.mark.parametrize("wrong", [0.5, None, [], 7, b"x"])
def test_a_type_tag_of_another_type_is_damage(wrong: object) -> None:
    """It is asked what it begins with, so it has to be text."""
    record: list[Any] = [None, ["safe", b""], ["messages"], [], [], {}, [[0, wrong, b""]]]
    with pytest.raises(CorruptSessionError):
        decode_record(_framed(record), SESSION, WHAT, NAME)
    with pytest.raises(CorruptSessionError):
        _decoded(_framed(["task", 0, "", "messages", wrong, b""]))
    with pytest.raises(CorruptSessionError):
        _decoded(_framed(["task", 0, "", wrong, "safe", b""]))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(data: bytes) -> None:
    """What is no frame at all is an error of ours."""
    with pytest.raises(NOTICED):
        decode_record(data, SESSION, WHAT, NAME)


# --- versions of the format -----------------------------------------------------------------------


@pytest.mark.parametrize("start", [bytes([FORMAT + 1, 0]), bytes([FORMAT, 9]), b"\xff\xff"])
def test_a_newer_format_is_refused_by_name(start: bytes) -> None:
    """What a later version wrote says which version it takes, and is not called damaged."""
    with pytest.raises(FormatVersionError, match="upgrade") as caught:
        decode_record(start + b"whatever that version wrote", SESSION, WHAT, NAME)
    assert caught.value.found == start[0]
    assert caught.value.supported == FORMAT
    assert caught.value.session == SESSION
