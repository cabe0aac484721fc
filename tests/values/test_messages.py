"""Messages: the fast path, and that it is only taken where it gives the same."""

from __future__ import annotations

import sys
from typing import Any, Final

import msgpack
import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import AddableDict

from values import kinds
from values.comparing import same
from wren_sessions import PlainObject, PlainSerializer, SafeSerializer
from wren_sessions.errors import SerializationError
from wren_sessions.serializers import packing, unpacking
from wren_sessions.serializers._wire import FIELDS, MESSAGES
from wren_sessions.serializers.packing import array_header, array_length

CALL: Final = {"name": "f", "args": {"a": [1, {"b": None}]}, "id": "c1", "type": "tool_call"}
USUAL: Final[list[BaseMessage]] = [
    SystemMessage("be kind"),
    HumanMessage("hi", id="h1", name="Ann"),
    HumanMessage([{"type": "text", "text": "hi"}, "there"]),
    AIMessage("", id="a1", tool_calls=[CALL], response_metadata={"model": "m", "n": 1.5}),
    AIMessage("x", usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}),
    AIMessage("x", invalid_tool_calls=[{"name": "f", "args": "{", "id": None, "error": "no"}]),
    ToolMessage("done", tool_call_id="c1", artifact={"rows": [1, 2]}, status="error"),
    AIMessageChunk(content="par", id="a1", tool_call_chunks=[]),
]


def _with(message: BaseMessage, **slots: Any) -> BaseMessage:
    for name, value in slots.items():
        object.__setattr__(message, name, value)
    return message


def _reordered() -> BaseMessage:
    message = HumanMessage("x")
    message.__dict__["content"] = message.__dict__.pop("content")
    return message


def _other_extra() -> BaseMessage:
    message = HumanMessage("x")
    message.rating = 5  # type: ignore[attr-defined] # as pydantic lets it have
    return message


ODD: Final[list[BaseMessage]] = [
    kinds.Loud(content="x"),
    _other_extra(),
    _reordered(),
    _with(HumanMessage("x"), __pydantic_fields_set__={"content", "elsewhere"}),
    _with(HumanMessage("x"), __pydantic_fields_set__=set()),
    _with(HumanMessage("x"), __pydantic_extra__=None),
    _with(HumanMessage("x"), __pydantic_private__={}),
    HumanMessage.model_construct(content="x", additional_kwargs=(1, 2)),
    HumanMessage.model_construct(content=None),
    HumanMessage("x", additional_kwargs={"t": (1, 2), "b": b"bytes", "a": bytearray(b"x")}),
    HumanMessage("x", additional_kwargs={1: 2, None: {"set": {1, 2}}}),
    AIMessage("x", response_metadata={"mood": kinds.Mood.CALM, "big": 2**80, "nan": float("nan")}),
    AIMessage("x", response_metadata={"word": kinds.Word.YES, "note": kinds.Note("n")}),
    HumanMessage("half \ud800"),
    ToolMessage("x", tool_call_id="c", artifact=kinds.Frozen("x")),
    ChatMessage(content="x", role="judge"),
    RemoveMessage(id="h1"),
]


@pytest.mark.parametrize("with_libraries", [True, False])
@pytest.mark.parametrize("others", [USUAL, ODD, [*USUAL, *ODD], [*ODD, *USUAL]])
def test_messages_come_back_the_same(
    others: list[BaseMessage],
    *,
    with_libraries: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Usual and odd ones, in any order, also where the fast libraries are not installed."""
    if not with_libraries:
        monkeypatch.setattr(packing, "orjson", None)
        monkeypatch.setattr(unpacking, "ormsgpack", None)
    serde = SafeSerializer()
    for _ in range(2):  # a serializer gets to know the classes at first
        assert same(serde.loads_typed(serde.dumps_typed(others)), others)
        for message in others:
            assert same(serde.loads_typed(serde.dumps_typed(message)), message)


@pytest.mark.parametrize("message", [*USUAL, *ODD], ids=lambda value: type(value).__name__)
def test_both_ways_write_the_same_bytes(
    message: BaseMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, in a list, behind other messages, with and without orjson: one encoding."""
    serde = SafeSerializer()
    alone = serde.dumps_typed(message)[1]
    for _ in range(2):
        assert serde.dumps_typed([message])[1] == b"\x91" + alone
        first = serde.dumps_typed(USUAL[0])[1]
        assert serde.dumps_typed([USUAL[0], message])[1] == b"\x92" + first + alone
    monkeypatch.setattr(packing, "orjson", None)
    assert SafeSerializer().dumps_typed([message])[1] == b"\x91" + alone


@pytest.mark.parametrize("count", [1, 15, 16, 199, 200, 201, 215, 216, 65_535, 65_536])
def test_lists_of_any_length_come_back(count: int) -> None:
    """Long ones are packed in parts; their bytes are those of one array."""
    serde = SafeSerializer()
    serde.dumps_typed([USUAL[1]])
    messages = [USUAL[1]] * count
    stored = serde.dumps_typed(messages)
    assert (
        stored[1]
        == msgpack.Packer().pack_array_header(count) + serde.dumps_typed(USUAL[1])[1] * count
    )
    assert serde.loads_typed(stored) == messages


def test_the_fields_of_usual_messages_are_those_of_langchain() -> None:
    """Else they would all take the general way, and be slow."""
    for kind, names in FIELDS.items():
        place, _, name = MESSAGES[b"m" + kind[1:]].partition(":")
        assert tuple(vars(sys.modules[place])[name].model_fields) == names


def test_plain_reading_knows_both_forms() -> None:
    """A usual message, and one that carries more."""
    found = PlainSerializer().loads_typed(SafeSerializer().dumps_typed([USUAL[1], ODD[1]]))
    assert [item.type_name for item in found] == ["langchain_core.messages.human:HumanMessage"] * 2
    assert found[0].value == {
        "content": "hi",
        "additional_kwargs": {},
        "response_metadata": {},
        "type": "human",
        "name": "Ann",
        "id": "h1",
    }
    assert found[1].value["rating"] == 5
    assert isinstance(found[0], PlainObject)


def test_another_release_of_langchain_reads_usual_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its classes have other fields: what it lacks is an extra, what is new gets its default."""
    stored = SafeSerializer().dumps_typed([USUAL[1]])
    fields = dict(HumanMessage.__pydantic_fields__)
    changed = {name: fields[name] for name in fields if name != "name"}
    monkeypatch.setattr(HumanMessage, "__pydantic_fields__", changed)
    found = SafeSerializer().loads_typed(stored)[0]
    assert found.content == "hi"
    assert found.model_extra == {"name": "Ann"}


@pytest.mark.parametrize("size", [0, 5, 7])
def test_a_message_that_lost_fields_is_damaged(size: int) -> None:
    """Nothing is guessed."""
    item = b"\xd6\xf0Mh\x00\x01" + b"\xa1x" * size
    data = b"\x91" + bytes([0x91 + size]) + item
    for reader in (SafeSerializer(), PlainSerializer()):
        with pytest.raises(SerializationError):
            reader.loads_typed(("safe", data))


@pytest.mark.parametrize("first", [0, 1, 3, 14, 15, 16])
@pytest.mark.parametrize("others", [USUAL, ODD, [*USUAL, *ODD], [*ODD, *USUAL]])
def test_a_list_may_be_read_in_two_parts(others: list[BaseMessage], first: int) -> None:
    """What was unpacked before stands in front; usual and odd ones, in their places."""
    serde = SafeSerializer()
    messages = [USUAL[0], *others, *others, *others]
    kind, whole = serde.dumps_typed(messages)
    beginning = serde.dumps_typed(messages[: first + 1])[1]
    read = serde.load_list(kind, beginning)
    assert (read is not None) or others is not USUAL
    if read is None:
        return
    assert same(read[0], messages[: first + 1])
    size = array_length(beginning)[1]
    header = array_length(whole)[1]
    rest = whole[:header] + whole[header + len(beginning) - size :]
    again = serde.load_list(kind, rest, read[1])
    assert (again is not None) or others is not USUAL
    if again is not None:
        assert same(again[0], messages)
        assert again[1].count == len(messages)
        assert same(again[1].build(), messages)
    assert same(read[1].build(), messages[: first + 1])


def test_a_list_may_be_the_beginning_of_what_was_read() -> None:
    """Any number of messages, built of what was kept, which may grow elsewise from there."""
    serde = SafeSerializer()
    odd = [m for m in ODD if serde.load_list(*serde.dumps_typed([USUAL[0], m])) is not None]
    messages = [USUAL[0], *odd[:4], *USUAL, *odd, *USUAL]
    kind, whole = serde.dumps_typed(messages)
    read = serde.load_list(kind, whole)
    assert read is not None
    assert len(odd) > 5
    for count in range(len(messages) + 1):
        fewer = serde.load_list(kind, array_header(count), read[1])
        assert fewer is not None
        assert same(fewer[0], messages[:count])
        assert fewer[1].count == count
        rest = serde.dumps_typed(USUAL)[1]
        header = array_header(count + len(USUAL))
        more = serde.load_list(kind, header + rest[array_length(rest)[1] :], fewer[1])
        assert more is not None
        assert same(more[0], [*messages[:count], *USUAL])
    assert same(read[1].build(), messages)


def test_the_beginning_of_what_was_read_tells_changes() -> None:
    """It is compared as what was read is."""
    serde = SafeSerializer()
    messages = [*USUAL, *USUAL]
    read = serde.load_list(*serde.dumps_typed(messages))
    assert read is not None
    assert read[1].begins(messages)
    for count in range(1, len(messages)):
        fewer = read[1].first(count)
        assert fewer.begins(messages)
        assert fewer.begins(read[1].build()[:count])
        assert not fewer.begins(messages[: count - 1])
        changed = [*read[1].build()]
        changed[count - 1].additional_kwargs["new"] = 1
        assert not fewer.begins(changed)
        assert read[1].first(count - 1).begins(changed) or count == 1


def test_a_part_that_does_not_fit_is_refused() -> None:
    """Too few messages, too many, none at all, or something else."""
    serde = SafeSerializer()
    kind, two = serde.dumps_typed(USUAL[:2])
    read = serde.load_list(kind, two)
    assert read is not None
    assert serde.load_list("msgpack", two) is None
    assert serde.load_list(kind, serde.dumps_typed("text")[1]) is None
    assert serde.load_list(kind, b"") is None
    assert serde.load_list(kind, two[:-1]) is None
    assert serde.load_list(kind, b"\x91" + two[1:], read[1]) is None
    assert serde.load_list(kind, b"\x93", read[1]) is None
    assert serde.load_list(kind, two, read[1]) is None
    same_again = serde.load_list(kind, b"\x92", read[1])
    assert same_again is not None
    assert same(same_again[0], USUAL[:2])


def test_a_subclass_with_its_own_reading_is_asked() -> None:
    """Lists go its way too."""

    class Own(SafeSerializer):
        def loads_typed(self, data: tuple[str, bytes]) -> object:
            return super().loads_typed(data)

    assert Own().load_list(*Own().dumps_typed(USUAL)) is None


def test_a_list_that_takes_too_much_memory_to_read_is_refused_where_it_is_packed() -> None:
    """A store that looks at a packed list is not shown one that nobody could read again."""
    few_bytes: dict[str, Any] = {"empty": [{}] * 4_000_000}
    shown: list[bytes] = []
    serde = SafeSerializer()
    serde.dumps_typed([HumanMessage("hi")])  # a serializer gets to know the classes at first
    with pytest.raises(SerializationError, match="too much memory to be read again"):
        serde.dump_list(
            [HumanMessage("hi", additional_kwargs=few_bytes)],
            lambda packed: shown.append(packed.head),
        )
    assert not shown


def test_a_list_that_another_thread_appends_to_is_packed_as_it_was() -> None:
    """It grows while an object in it is lowered; all that is packed is as long as its head says."""
    messages: list[Any] = [*map(HumanMessage, map(str, range(500))), HumanMessage("last")]
    messages[3] = AddableDict(a=1)
    serde = SafeSerializer()
    lower = serde._lower

    def growing(value: Any) -> Any:
        messages.append(HumanMessage("new"))
        return lower(value)

    serde.dumps_typed(messages[:1])
    serde._messages._lower = growing
    for count in (501, 502):
        assert len(serde.loads_typed(serde.dumps_typed(messages))) == count
        assert len(messages) == count + 1
    shown = serde.dump_list(messages, lambda packed: packed.head + bytes(packed.elements))
    assert shown is not None
    assert len(serde.loads_typed(("safe", shown))) == 503
