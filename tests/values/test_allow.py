"""Which types may be built: what is loaded, what a list says, what LangGraph adds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Interrupt, Send

from values import kinds
from values.comparing import same
from wren_sessions import MemoryStore, PlainObject, PlainSerializer, SafeSerializer, SessionSaver
from wren_sessions.errors import SerializationError, UnsafeTypeError

OFFICIAL: Final = [
    HumanMessage("x"),
    Document("x"),
    Send("n", {"a": 1}),
    Command(goto="x"),
    Interrupt("v"),
    {1, 2},
]


def test_a_list_narrows_to_exactly_its_types() -> None:
    """By class, by name, by LangGraph's pair; both when writing and when reading."""
    wide = SafeSerializer()
    for entry in (kinds.Frozen, "values.kinds:Frozen", ("values.kinds", "Frozen")):
        narrow = SafeSerializer(allow=[entry])
        value = [kinds.Frozen("x")]
        assert narrow.loads_typed(narrow.dumps_typed(value)) == value
        with pytest.raises(SerializationError, match=r"allow=\['values.kinds:Slotted', …\]"):
            narrow.dumps_typed([kinds.Slotted(1)])
        with pytest.raises(UnsafeTypeError, match=r"allow=\['values.kinds:Slotted', …\]"):
            narrow.loads_typed(wide.dumps_typed([kinds.Slotted(1)]))


@pytest.mark.parametrize("value", OFFICIAL, ids=lambda value: type(value).__name__)
def test_official_types_need_no_entry(value: Any) -> None:
    """Those on LangGraph's own list, and standard values."""
    serde = SafeSerializer(allow=[])
    assert same(serde.loads_typed(serde.dumps_typed([value])), [value])


def test_nested_and_generic_classes_are_named() -> None:
    """By their qualified name; of a parametrized model, the origin is enough."""
    for entry, value in (
        (kinds.Outer.Inner, kinds.Outer.Inner()),
        ("values.kinds:Outer.Inner", kinds.Outer.Inner()),
        (("values.kinds", "Inner"), kinds.Outer.Inner()),
        (kinds.Box, kinds.IntBox(content=1)),
        (kinds.IntBox, kinds.IntBox(content=1)),
    ):
        serde = SafeSerializer(allow=[entry])
        assert same(serde.loads_typed(serde.dumps_typed(value)), value)
    with pytest.raises(SerializationError, match="Box"):
        SafeSerializer(allow=[kinds.IntBox]).dumps_typed(kinds.ListBox(content=[1]))


def test_what_is_on_the_list_is_hashed() -> None:
    """Who names a class trusts its ``__hash__``."""
    value = {kinds.Hashed(name="x"): {kinds.Hashed(name="y")}}
    serde = SafeSerializer(allow=[kinds.Hashed])
    assert serde.loads_typed(serde.dumps_typed(value)) == value
    kinds.RAN.clear()
    with pytest.raises(UnsafeTypeError, match=r"__hash__.*allow="):
        SafeSerializer().loads_typed(serde.dumps_typed(value))
    stored = serde.dumps_typed(value)
    kinds.RAN.clear()
    with pytest.raises(UnsafeTypeError):
        SafeSerializer().loads_typed(stored)
    assert kinds.RAN == []


def test_a_type_that_is_not_loaded_is_refused(tmp_path: Path) -> None:
    """Nothing is imported for data, and the error names the module to import."""
    stored = SafeSerializer().dumps_typed([kinds.Frozen("x")])
    unloaded = (stored[0], stored[1].replace(b"values.kinds", b"values.mylib"))
    (tmp_path / "mylib.py").write_text("raise SystemExit('imported')")
    with pytest.raises(UnsafeTypeError, match=r"import values\.mylib in the application"):
        SafeSerializer().loads_typed(unloaded)
    assert PlainSerializer().loads_typed(unloaded) == [
        PlainObject("values.mylib:Frozen", {"name": "x", "number": 0})
    ]


@pytest.mark.parametrize(
    "name", ["Plain", "a_function", "RAN", "T", "kinds.Frozen", "Frozen.name", "nowhere", ""]
)
def test_what_is_no_data_type_is_never_built(name: str) -> None:
    """A name that leads to anything else is refused, and looking it up runs nothing."""
    kind, data = SafeSerializer().dumps_typed([kinds.Frozen("x")])
    old, new = (f"values.kinds:{name}".encode() for name in ("Frozen", name))
    data = data.replace(bytes([0xA0 + len(old)]) + old, bytes([0xD9, len(new)]) + new)
    kinds.RAN.clear()
    with pytest.raises(UnsafeTypeError):
        SafeSerializer().loads_typed((kind, data))
    assert kinds.RAN == []


# --- LangGraph's own allowlist --------------------------------------------------------------------


def test_langgraphs_allowlist_widens_a_list() -> None:
    """A saver's clone allows more; the saver itself stays as it was."""
    store = MemoryStore()
    saver = SessionSaver(store, serde=SafeSerializer(allow=[kinds.Frozen]))
    wider = saver.with_allowlist([("values.kinds", "Slotted")])
    value = [kinds.Slotted(1), kinds.Frozen("x")]
    assert wider.store is store
    assert wider.serde.loads_typed(wider.serde.dumps_typed(value)) == value
    with pytest.raises(SerializationError):
        saver.serde.dumps_typed(value)
    assert wider.with_allowlist([("values.kinds", "Slotted")]) is wider


def test_the_default_needs_no_widening() -> None:
    """It allows whatever is loaded."""
    saver = SessionSaver(MemoryStore())
    assert saver.with_allowlist([("values.kinds", "Slotted")]) is saver


def test_the_allowlist_reaches_into_encryption() -> None:
    """LangGraph's `EncryptedSerializer` around ours."""
    encrypted = EncryptedSerializer(_Turned(), SafeSerializer(allow=[]))
    saver = SessionSaver(MemoryStore(), serde=encrypted)
    wider = saver.with_allowlist([("values.kinds", "Slotted")])
    stored = wider.serde.dumps_typed([kinds.Slotted(1)])
    assert stored[0] == "safe+turned"
    assert wider.serde.loads_typed(stored) == [kinds.Slotted(1)]
    with pytest.raises(UnsafeTypeError):
        saver.serde.loads_typed(stored)


class _Turned:
    """Turns bytes round."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """Turn them round."""
        return "turned", plaintext[::-1]

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """Turn them back."""
        assert ciphername == "turned"
        return ciphertext[::-1]


def test_langgraphs_own_serializer_still_works() -> None:
    """With its own list, passed as ``serde=`` and through a graph."""
    serde = JsonPlusSerializer(allowed_msgpack_modules=[("values.kinds", "Frozen")])
    saver = SessionSaver(MemoryStore(), serde=serde)
    graph = StateGraph(dict)  # type: ignore[type-var] # LangGraph takes plain dicts too
    graph.add_node("n", lambda _: {"it": kinds.Frozen("x")})
    graph.add_edge(START, "n")
    graph.add_edge("n", END)
    config: Any = {"configurable": {"thread_id": "s"}}
    app = graph.compile(checkpointer=saver)
    app.invoke({"it": None}, config)
    assert app.get_state(config).values == {"it": kinds.Frozen("x")}


def test_what_the_default_wrote_is_read_after_a_change_of_serializer() -> None:
    """LangGraph's serializers do not know our tag; their list holds for what is read."""
    store = MemoryStore()
    config: Any = {"configurable": {"thread_id": "s", "checkpoint_ns": ""}}
    checkpoint: Any = {
        "v": 4,
        "id": "c1",
        "ts": "",
        "channel_values": {"it": [kinds.Frozen("x")]},
        "channel_versions": {"it": "1"},
        "versions_seen": {},
    }
    SessionSaver(store).put(config, checkpoint, {}, {"it": "1"})
    wide = SessionSaver(store, serde=JsonPlusSerializer(allowed_msgpack_modules=True))
    found = wide.get_tuple(config)
    assert found
    assert found.checkpoint["channel_values"] == {"it": [kinds.Frozen("x")]}
    narrow = SessionSaver(store, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    with pytest.raises(UnsafeTypeError, match="kinds:Frozen"):
        narrow.get_tuple(config)


STRICT: Final = """
import os
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
import operator
from typing import Annotated, TypedDict
from langgraph.graph import END, START, StateGraph
from values import kinds
from wren_sessions import MemoryStore, SafeSerializer, SessionSaver
from wren_sessions.errors import SerializationError


class State(TypedDict):
    frozen: kinds.Frozen


graph = StateGraph(State)
graph.add_node("n", lambda _: {"frozen": kinds.Frozen("y")})
graph.add_edge(START, "n")
graph.add_edge("n", END)
saver = SessionSaver(MemoryStore())
app = graph.compile(checkpointer=saver)
config = {"configurable": {"thread_id": "s"}}
app.invoke({"frozen": kinds.Frozen("x")}, config)
assert app.get_state(config).values == {"frozen": kinds.Frozen("y")}
try:
    saver.serde.dumps_typed(kinds.Slotted(1))
except SerializationError as error:
    print("refused", error)
"""


def test_langgraphs_strict_mode_is_honoured() -> None:
    """Only what the graph's schemas name may then be stored."""
    run = subprocess.run(
        [sys.executable, "-c", STRICT],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert "refused" in run.stdout
    assert "kinds:Slotted" in run.stdout
