"""Classes that no name leads to come back as themselves, or as a clear answer."""

from __future__ import annotations

import copy
import enum
import gc
import importlib
import logging
import os
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Generic, NamedTuple, TypedDict, TypeVar

import pydantic
import pydantic.v1
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel, create_model

from values import kinds
from wren_sessions import (
    MemoryStore,
    PlainObject,
    PlainSerializer,
    SafeSerializer,
    Sessions,
    open_store,
)
from wren_sessions.errors import ConfigurationError, SerializationError, UnsafeTypeError
from wren_sessions.serializers import _allowed, _local_classes

pytestmark = pytest.mark.usefixtures("few_objects")

T = TypeVar("T")
ANOTHER: Final = "#" + "0" * 16


def written(value: Any) -> tuple[str, bytes]:
    """As it is stored."""
    return SafeSerializer().dumps_typed(value)


def read(stored: tuple[str, bytes]) -> Any:
    """As it comes back."""
    return SafeSerializer().loads_typed(stored)


def elsewhere(stored: tuple[str, bytes]) -> tuple[str, bytes]:
    """The same as another process would have stored it: with numbers that this one never gave."""
    kind, data = stored
    for number in [name[-17:] for name in _local_classes._classes]:
        data = data.replace(number.encode(), ANOTHER.encode())
    return kind, data


def a_model() -> type[Any]:
    """A model of a function."""

    class Answer(BaseModel):
        text: str = "x"
        _seen: int = pydantic.PrivateAttr(default=1)

    return Answer


def _old_model() -> type[Any]:
    class Old(pydantic.v1.BaseModel):
        text: str = "x"

    return Old


def _dataclass() -> type[Any]:
    @dataclass(frozen=True, slots=True)
    class Note:
        text: str = "x"

    return Note


def _with_dict() -> type[Any]:
    @dataclass
    class Note:
        text: str = "x"
        tags: list[str] = field(default_factory=list)

    return Note


def _named_tuple() -> type[Any]:
    class Pair(NamedTuple):
        left: int = 1
        right: str = "r"

    return Pair


def _enum() -> Any:
    class Mood(enum.Enum):
        CALM = (1, 2)

    return lambda: Mood.CALM


def _enum_by_call() -> Any:
    Mood: Any = enum.Enum("Mood", "CALM TIRED")  # noqa: N806 -- a class
    return lambda: Mood.TIRED


def _flags() -> Any:
    class Access(enum.Flag):
        READ = 1
        WRITE = 2

    return lambda: Access.READ | Access.WRITE


def _typed_dict() -> Any:
    class State(TypedDict):
        text: str

    return lambda: State(text="x")


def _message() -> Any:
    class Loud(HumanMessage):
        volume: int = 3

    return lambda: Loud(content="x")


def _generic() -> Any:
    class Crate(BaseModel, Generic[T]):
        content: T

    return lambda kind=Crate[int]: kind(content=1)


def _generic_of_local() -> Any:
    box: Any = kinds.Box
    kind = box[a_model()]
    return lambda: kind(content=kind.model_fields["content"].annotation())


def _named_like_another() -> Any:
    return type("Note", (BaseModel,), {"__module__": "values.kinds"})


def _named_like_a_message() -> Any:
    kind = type("HumanMessage", (HumanMessage,), {"__module__": HumanMessage.__module__})
    return lambda: kind("x")


MAKERS: Final[dict[str, Callable[[], Any]]] = {
    "pydantic model": a_model,
    "pydantic 1 model": _old_model,
    "create_model": lambda: create_model("Dyn", text=(str, "x"), inner=(dict[str, int], {})),
    "create_model of pydantic 1": lambda: pydantic.v1.create_model("Dyn", text=(str, "x")),
    "dataclass with slots": _dataclass,
    "dataclass": _with_dict,
    "make_dataclass": lambda: make_dataclass("Made", [("text", str, "x")]),
    "named tuple": _named_tuple,
    "enum": _enum,
    "enum by call": _enum_by_call,
    "flags": _flags,
    "typed dict": _typed_dict,
    "message": _message,
    "generic": _generic,
    "generic of a local class": _generic_of_local,
    "named like another class": _named_like_another,
    "named like a message": _named_like_a_message,
}


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_in_the_same_process_they_come_back_as_their_class(name: str) -> None:
    """Of every kind; alone, nested in containers, messages and models, and in long lists."""
    make = MAKERS[name]()
    value = make()
    places = [
        value,
        [{"a": (value, deque([value]))}],
        HumanMessage("x", additional_kwargs={"it": value}),
        [HumanMessage("x"), AIMessage("x", response_metadata={"deep": [{"it": value}]})],
        kinds.Slotted(value),
        kinds.Anything(it=[value]),
        [make() for _ in range(100)],
    ]
    for place in places:
        found = read(written(place))
        assert found == place
        assert repr(found) == repr(place)
    assert type(read(written(value))) is type(value)
    assert written(value) == written(make())


@pytest.mark.parametrize("name", sorted(MAKERS.keys() - {"typed dict"}))
def test_elsewhere_they_are_an_error_or_plain_data(name: str) -> None:
    """The error names class, module and what helps; and what it says helps."""
    value = MAKERS[name]()()
    stored = elsewhere(written([value]))
    with pytest.raises(UnsafeTypeError, match=r"no name leads to.*missing='plain'") as caught:
        read(stored)
    kind = type(value)
    if kind.__name__.startswith("Box["):
        kind = kind.model_fields["content"].annotation  # it is read first
    assert f"{kind.__module__}:" in str(caught.value)
    assert kind.__name__.partition("[")[0] in str(caught.value)
    (plain,) = SafeSerializer(missing="plain").loads_typed(stored)
    assert type(plain) is PlainObject
    assert [plain] == PlainSerializer().loads_typed(stored)
    assert "#" not in plain.type_name
    assert type(value).__name__.partition("[")[0] in plain.type_name
    with pytest.raises(SerializationError, match="top level of an importable module"):
        SafeSerializer(strict=True).dumps_typed([value])


def test_only_what_is_missing_is_plain_data() -> None:
    """Everything else is built as ever, and stays secret."""
    secret = create_model("Dyn", secret=(pydantic.SecretStr, pydantic.SecretStr("hush")))
    stored = elsewhere(written([kinds.Frozen("x"), secret(), HumanMessage("x")]))
    named, plain, message = SafeSerializer(missing="plain").loads_typed(stored)
    assert (named, message) == (kinds.Frozen("x"), HumanMessage("x"))
    assert plain.value["secret"].get_secret_value() == "hush"
    with pytest.raises(UnsafeTypeError, match="not allowed"):
        SafeSerializer(missing="plain", allow=[]).loads_typed(stored)


@pytest.mark.parametrize("name", sorted(MAKERS.keys() - {"typed dict"}))
def test_plain_data_is_not_stored_in_the_place_of_an_object(name: str) -> None:
    """Wherever it stands in a value, writing it is refused, and the error names the class."""
    serde = SafeSerializer(missing="plain")
    (plain,) = serde.loads_typed(elsewhere(written([MAKERS[name]()()])))
    message = HumanMessage("x", additional_kwargs={"it": plain})
    for value in (plain, [plain], {"it": (plain,)}, [message], kinds.Box(content=plain)):
        with pytest.raises(SerializationError, match="a PlainObject stands for a ") as caught:
            serde.dumps_typed(value)
        assert plain.type_name in str(caught.value)


def test_plain_data_can_be_a_key() -> None:
    """Of it, only what the application does not hash itself."""
    make = _dataclass()
    plain = SafeSerializer(missing="plain")
    stored = elsewhere(written({make("a"): 1, make("b"): 2}))
    assert {key.value["text"] for key in plain.loads_typed(stored)} == {"a", "b"}
    holder = make_dataclass("Holder", [("it", Any)], frozen=True)
    serde = SafeSerializer(allow=[kinds.Hashed, holder])
    trap = elsewhere(serde.dumps_typed({holder(kinds.Hashed(name="x"))}))
    kinds.RAN.clear()
    with pytest.raises(UnsafeTypeError, match="__hash__"):
        plain.loads_typed(trap)
    assert kinds.RAN == []


def test_classes_of_one_name_are_told_apart() -> None:
    """A function that is called twice, and ``create_model`` with other fields."""
    first, second = a_model(), a_model()
    older = create_model("Dyn", a=(int, 1))
    newer = create_model("Dyn", b=(int, 2))
    values = [first(), second(), older(), newer()]
    assert [type(value) for value in read(written(values))] == [first, second, older, newer]


def test_parametrized_models_are_told_apart() -> None:
    """By the classes in their arguments, however deep, and by validators of one name."""

    def make(least: int) -> Any:
        def check(value: int) -> int:
            assert value >= least
            return value

        return kinds.Box[Annotated[int, pydantic.AfterValidator(check)]]

    box: Any = kinds.Box
    answers = a_model(), a_model()
    made = [box[list[answers[0]]], box[list[answers[1]]], make(1), make(2), box[int]]  # type: ignore[valid-type] # made here
    content = [[answers[0]()], [answers[1]()], 1, 2, 3]
    values = [kind(content=item) for kind, item in zip(made, content, strict=True)]
    for _ in range(2):
        assert [type(value) for value in read(written(values))] == made
        values.reverse()
        made.reverse()


def test_a_class_that_is_gone_is_never_another_one() -> None:
    """Not even one of the same name and fields."""
    first, second = a_model(), a_model()
    stored, other = written(first()), written(second())
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None
    with pytest.raises(UnsafeTypeError, match=r":a_model.<locals>.Answer"):
        read(stored)
    assert type(read(other)) is second


def test_old_instances_of_a_module_that_was_reloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are what they were; the name stands for the new class."""
    (tmp_path / "reloaded_app.py").write_text(
        "import dataclasses, enum\n@dataclasses.dataclass\nclass Note:\n    text: str = 'x'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("reloaded_app")
    try:
        old = module.Note
        box: Any = kinds.Box
        old_box = box[old]
        before, boxed = written(old()), written(old_box(content=old()))
        importlib.reload(module)
        new = module.Note
        assert [type(value) for value in read(written([old(), new(), old()]))] == [old, new, old]
        new_box = box[module.Note]
        boxes = [new_box(content=new()), old_box(content=old()), new_box(content=new())]
        assert [type(value) for value in read(written(boxes))] == [new_box, old_box, new_box]
        assert type(read(boxed)) is new_box
        assert type(read(before)) is new
    finally:
        del sys.modules["reloaded_app"]


def test_a_name_that_leads_to_the_class_by_now_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that was written while its module was still being made."""
    late = create_model("Late", __module__="values.kinds", a=(int, 1))
    early = written(late())
    monkeypatch.setattr(kinds, "Late", late, raising=False)
    assert b"#" in early[1]
    assert b"#" not in written(late())[1]
    assert type(read(early)) is type(read(written(late()))) is late


# --- what is told ---------------------------------------------------------------------------------


def test_one_warning_for_each_class(caplog: pytest.LogCaptureFixture) -> None:
    """When its first object is written, and then no more."""
    make = a_model()
    with caplog.at_level(logging.WARNING, "wren_sessions"):
        for _ in range(3):
            written([make(), make(), kinds.Frozen("x")])
        box: Any = kinds.Box
        written(box[make](content=make()))
        assert len([r for r in caplog.records if "Answer is stored" in r.getMessage()]) == 1
        SafeSerializer(allow=["values.kinds:Frozen"]).dumps_typed(kinds.Frozen("x"))
        caplog.clear()
        with pytest.raises(SerializationError, match="allow="):
            SafeSerializer(allow=[]).dumps_typed(a_model()())
        with pytest.raises(SerializationError, match="importable"):
            SafeSerializer(strict=True).dumps_typed(a_model()())
    assert not caplog.records


def test_a_list_applies_by_name() -> None:
    """By class, by name, by LangGraph's pair."""
    make = a_model()
    name = f"{__name__}:a_model.<locals>.Answer"
    for entry in (make, name, (__name__, "Answer")):
        serde = SafeSerializer(allow=[entry])
        assert type(serde.loads_typed(serde.dumps_typed(make()))) is make
    wider = SafeSerializer(allow=[], strict=True).with_msgpack_allowlist([make])
    with pytest.raises(SerializationError, match="importable"):
        wider.dumps_typed(make())
    with pytest.raises(UnsafeTypeError, match=rf"allow=\['{name}', …\]"):
        SafeSerializer(allow=[]).loads_typed(written(make()))


def test_a_wrong_option_is_an_error() -> None:
    """Not a silent default."""
    with pytest.raises(ConfigurationError, match="missing= must be 'error' or 'plain'"):
        SafeSerializer(missing="dict")  # type: ignore[arg-type] # that is the point


# --- what is kept ---------------------------------------------------------------------------------


def test_nothing_keeps_the_classes() -> None:
    """A thousand classes that were written, read and refused leave nothing behind."""
    gc.collect()
    before = len(_local_classes._classes), len(_allowed._profiles), len(_allowed._by_name)
    gone = []
    # typing's own cache keeps generic ones.
    makers = [make for name, make in MAKERS.items() if not name.startswith("generic")]
    for _ in range(50):
        for make in makers:
            value = make()()
            read(written([value, {"a": value}]))
            if type(value) is dict:
                continue
            gone.append(weakref.ref(type(value)))
            with pytest.raises(SerializationError):
                SafeSerializer(allow=[]).dumps_typed([value])
    make = value = None  # type: ignore[assignment] # the last ones
    gc.collect()
    assert [ref() for ref in gone if ref() is not None] == []
    assert len(_local_classes._classes) <= before[0], list(_local_classes._classes)
    assert (len(_allowed._profiles), len(_allowed._by_name)) <= (before[1] + 2, before[2] + 2)


def test_nothing_keeps_a_class_whose_name_is_anothers() -> None:
    """Once the new one was written: the table has one class for each name."""
    space: Any = vars(kinds)
    gone = []
    try:
        for _ in range(3):
            made = make_dataclass("Made", [("text", str, "x")])
            made.__module__ = "values.kinds"
            space["Made"] = made
            assert b"#" not in written(made())[1]
            gone.append(weakref.ref(made))
            del made
        gc.collect()
        assert [ref() for ref in gone] == [None, None, space["Made"]]
    finally:
        del space["Made"]


def test_threads_that_write_and_collect_at_once() -> None:
    """Each reads what it wrote, and a class has one number, whoever writes it first."""
    shared, problems, seen = a_model(), [], set()

    def work() -> None:
        try:
            for _ in range(100):
                mine = create_model("Dyn", a=(int, 1))
                stored = written([mine(), shared()])
                assert [type(value) for value in read(stored)] == [mine, shared]
                seen.add(written(shared())[1])
                del mine
        except BaseException as error:  # noqa: BLE001 -- told below
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            gc.collect()
            thread.join(0.001)  # or the collector has the interpreter to itself
    assert problems == []
    assert len(seen) == 1


def test_the_class_itself_is_as_it_was() -> None:
    """It can be copied and derived from, and what is known of it goes nowhere with it."""
    make = _with_dict()
    stored = written(make())
    derived = type("Derived", (make,), {})
    assert type(read(written(derived()))) is derived
    assert type(read(stored)) is make
    own = {
        name: it for name, it in make.__dict__.items() if name not in {"__dict__", "__weakref__"}
    }
    copied = type("Note", make.__bases__, own | {"__qualname__": make.__qualname__})
    assert type(read(written(copied()))) is copied
    notes = make.__dict__["__wren_sessions__"]
    assert notes.__reduce__()[0](*notes.__reduce__()[1]) is copy.copy(notes) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_has_its_parents_classes() -> None:
    """And is not held up by a thread that gave a number at that moment."""
    make = a_model()
    stored = written(make())
    with _local_classes._guard.lock:
        child = os.fork()
        if not child:
            try:
                worker = threading.Thread(target=lambda: written(a_model()()), daemon=True)
                worker.start()
                worker.join(30)
                os._exit(0 if type(read(stored)) is make and not worker.is_alive() else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_another_process(tmp_path: Path) -> None:
    """The error of a real one; and the plain data, from the same file."""
    url = f"file:{tmp_path / 's.db'}"
    sessions, make = Sessions(open_store(url)), a_model()
    sessions.save("s", {"answer": make(text="yes"), "n": 1})
    assert sessions.load("s").state["answer"] == make(text="yes")
    name = f"{__name__}:a_model.<locals>.Answer"
    code = (
        "from wren_sessions import *\n"
        "from wren_sessions.errors import UnsafeTypeError\n"
        f"store = open_store({url!r})\n"
        "try: Sessions(store).load('s')\n"
        "except UnsafeTypeError as error: print(error)\n"
        "print(Sessions(store, serde=SafeSerializer(missing='plain')).load('s').state)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    error, state = found.stdout.splitlines()
    assert name in error
    assert f"PlainObject(type_name='{name}'" in state
    assert "'text': 'yes'" in state


def test_a_session_of_such_values() -> None:
    """On the same store, in the same process."""
    sessions = Sessions(MemoryStore())
    make = a_model()
    sessions.save("s", {"answers": [make(text=str(n)) for n in range(200)]})
    with sessions.edit("s") as session:
        session.state["answers"].append(make(text="last"))
    found = sessions.load("s").state["answers"]
    assert [item.text for item in found[-2:]] == ["199", "last"]
    assert {type(item) for item in found} == {make}
