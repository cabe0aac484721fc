"""What the errors about values propose, done to the letter."""

from __future__ import annotations

import dataclasses
import importlib
import re
import struct
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel, create_model, field_serializer

from remedies.proposals import tries
from values import kinds
from values.test_depth import nearly_out_of_stack
from wren_sessions import Limits, PlainObject, PlainSerializer, SafeSerializer
from wren_sessions.errors import (
    ConfigurationError,
    DecryptionError,
    SerializationError,
)
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.serializers.keyring import Keyring

TESTS: Final = Path(__file__).parents[1]
SERDE: Final = SafeSerializer()
ALLOW: Final = re.compile(r"allow=\[('.*?'), …\]")


def comes_back(value: Any, serde: SafeSerializer = SERDE) -> bool:
    """Whether a value is stored and read as what it was."""
    found = serde.loads_typed(serde.dumps_typed(value))
    return type(found) is type(value) and bool(found == value)


def refusal(value: Any, serde: SafeSerializer = SERDE) -> str:
    """What is said of a value that cannot be stored."""
    with pytest.raises(SerializationError) as caught:
        serde.dumps_typed(value)
    return str(caught.value)


def reading(stored: tuple[str, bytes], serde: SafeSerializer = SERDE) -> str:
    """What is said of a stored value that cannot be read."""
    with pytest.raises(SerializationError) as caught:
        serde.loads_typed(stored)
    return str(caught.value)


class App:
    """A module of an application, with one class that changes from release to release."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def releases(self, kind: Any) -> Any:
        """The class as it is now."""
        kind.__module__, kind.__qualname__ = self.module.__name__, "Thing"
        self.module.__dict__["Thing"] = kind
        return kind


@pytest.fixture
def app() -> Iterator[App]:
    """An application's module that is loaded."""
    module = sys.modules["remedied_app"] = ModuleType("remedied_app")
    yield App(module)
    del sys.modules["remedied_app"]


# --- the list -------------------------------------------------------------------------------------


@tries("add it to the list, SafeSerializer(allow=[")
@pytest.mark.parametrize(
    "value",
    [
        kinds.Frozen("x"),
        kinds.Outer.Inner(),
        kinds.Mood.CALM,
        kinds.IntBox(content=1),
        kinds.ListBox(content=[1]),
        kinds.Box[int | None](content=1),
        kinds.Box[dict[str, kinds.Answer | None]](content={}),
        create_model("Local", a=(int, 1))(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_entry_that_is_named_is_enough(value: Any) -> None:
    """For writing and for reading; as it is printed."""
    stored = SERDE.dumps_typed([value])
    narrow = SafeSerializer(allow=[])
    for text in (refusal([value], narrow), reading(stored, narrow)):
        found = ALLOW.search(text)
        assert found, text
        wider = SafeSerializer(allow=[found[1].strip("'")])
        assert comes_back([value], wider)
        assert wider.loads_typed(stored) == [value]


@tries("allow= takes classes and names such as 'app.state:Answer'")
def test_what_a_list_takes() -> None:
    """A class, and a name in the form that is shown."""
    with pytest.raises(ConfigurationError, match=r"classes and names such as 'app\.state:Answer'"):
        SafeSerializer(allow=["app.state.Answer"])
    SafeSerializer(allow=["app.state:Answer", kinds.Answer])


@tries("name the class in SafeSerializer(allow=[", "or use a list")
@pytest.mark.parametrize("hashed", [kinds.Hashed(name="x"), kinds.Box[kinds.Hashed]], ids=str)
def test_keys_with_a_hash_of_their_own(hashed: Any) -> None:
    """The name that is shown lets them be hashed; a list needs no hash."""
    if isinstance(hashed, type):
        box: Any = dataclasses.make_dataclass("Holder", [("it", Any)], frozen=True)
        hashed = box(kinds.Hashed(name="x"))
    found = ALLOW.search(refusal({hashed: 1}))
    assert found
    assert comes_back({hashed: 1}, SafeSerializer(allow=[found[1].strip("'"), type(hashed)]))
    assert comes_back([hashed])


# --- classes --------------------------------------------------------------------------------------


@tries(
    "define the class at the top level of an importable module, under its own name",
    "Define {} at the top level of the module {}, for what is stored from then on",
    "Define the class at the top level of an importable module",
)
def test_a_class_of_a_function_moves_to_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From then on, every process that imports the module reads it."""
    inside = "from pydantic import BaseModel\ndef make():\n    class A(BaseModel): a: int = 1\n"
    path = tmp_path / "moving_app.py"
    path.write_text(f"{inside}    return A\n")
    monkeypatch.syspath_prepend(tmp_path)
    module: Any = importlib.import_module("moving_app")
    try:
        kind = module.make()
        assert "top level of an importable module" in refusal([kind()], SafeSerializer(strict=True))
        stored = SERDE.dumps_typed(kind())
        assert "Define the class at the top level" in caplog.text
        stored = stored[0], re.sub(rb"#[0-9a-f]{16}", b"#" + b"0" * 16, stored[1])
        assert "Define A at the top level of the module moving_app" in reading(stored)
        plain = SafeSerializer(missing="plain").loads_typed(stored)
        assert plain == PlainObject("moving_app:make.<locals>.A", {"a": 1})
        assert PlainSerializer().loads_typed(stored) == plain
        path.write_text("from pydantic import BaseModel\nclass A(BaseModel): a: int = 1\n")
        importlib.invalidate_caches()
        module = importlib.reload(module)
        assert comes_back([module.A()], SafeSerializer(strict=True))
    finally:
        del sys.modules["moving_app"]


@tries("import {} in the application before the value is read", "define {} in it again")
def test_a_class_that_is_not_there(app: App) -> None:
    """Importing the module helps; and once it is there, so does defining the class in it."""
    kind = app.releases(dataclasses.make_dataclass("Thing", ["a"]))
    stored = SERDE.dumps_typed(kind(1))
    del sys.modules["remedied_app"]
    assert "import remedied_app in the application" in reading(stored)
    sys.modules["remedied_app"] = app.module
    assert SERDE.loads_typed(stored) == kind(1)
    del app.module.__dict__["Thing"]
    assert "define Thing in it again" in reading(stored)
    app.releases(kind)
    assert SERDE.loads_typed(stored) == kind(1)


@tries("read the value there, once the class is defined")
def test_a_class_of_a_notebook() -> None:
    """Once its cell has run, the value is read."""
    stored = SERDE.dumps_typed(kinds.Frozen("x"))
    data = stored[1].replace(b"\xb3values.kinds:Frozen", b"\xaf__main__:Frozen")
    code = (
        "from dataclasses import dataclass\n"
        "from wren_sessions import SafeSerializer\n"
        f"stored = ('safe', {data!r})\n"
        "try: SafeSerializer().loads_typed(stored)\n"
        "except Exception as error: print(error)\n"
        "@dataclass(frozen=True)\n"
        "class Frozen:\n"
        "    name: str\n"
        "    number: int = 0\n"
        "print(SafeSerializer().loads_typed(stored) == Frozen('x'))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    error, found = run.stdout.splitlines()
    assert "read the value there, once the class is defined" in error
    assert found == "True"


@tries("import the module of the class and read the value again, or store plain data, such as")
def test_plain_data_of_a_class_that_is_missing() -> None:
    """The object is read again where its class is, or its data are stored."""
    stored = SERDE.dumps_typed(kinds.IntBox(content=1))
    missing = stored[0], stored[1].replace(b"values.kinds", b"values.kinks")
    plain = SafeSerializer(missing="plain").loads_typed(missing)
    assert "such as the object's .value, instead" in refusal(plain)
    assert comes_back(SERDE.loads_typed(stored))
    assert comes_back(plain.value)


@tries("use {} in the application, as an annotation or in a line of its own")
def test_a_parametrized_model_that_was_not_made() -> None:
    """The line that is named makes it."""
    stored = SERDE.dumps_typed(kinds.IntBox.model_construct(content={1}))
    stored = stored[0], stored[1].replace(b"builtins:int", b"builtins:set")
    found = re.search(r"use (Box\[.*?\]) in the application", reading(stored))
    assert found
    made = eval(found[1], {"Box": kinds.Box})  # noqa: S307 -- that is what it says
    assert type(SERDE.loads_typed(stored)) is made


# --- what is refused ------------------------------------------------------------------------------


@tries(
    "or make it a dataclass that has a {} in a field",
    "with repr(error), or its data",
    "take that out, and use a context manager",
    "store its data instead, or keep it outside the state",
)
@pytest.mark.parametrize(
    ("value", "says", "instead"),
    [
        (kinds.Texts(["a"]), "list(…)", lambda value: [list(value), kinds.Slotted(list(value))]),
        (kinds.Text("a"), "str(…)", lambda value: [str(value), kinds.Slotted(str(value))]),
        (type("Count", (int,), {})(3), "int(…)", lambda value: [int(value)]),
        (type("Map", (defaultdict,), {})(list, a=1), "dict(…)", lambda value: [dict(value)]),
        (ValueError("no"), "repr(error)", lambda value: [repr(value), value.args]),
        (kinds.Problem(), "repr(error)", lambda value: [repr(value), dataclasses.asdict(value)]),
        (OSError(2, "no"), "repr(error)", lambda value: [repr(value), value.errno]),
        (kinds.Plain(), "store its data", lambda value: [dict(vars(value))]),
        (kinds.Deleted(), "take that out", lambda value: [_without_del(value)]),
    ],
    ids=lambda case: type(case).__name__,
)
def test_what_to_store_instead(value: Any, says: str, instead: Callable[[Any], list[Any]]) -> None:
    """Inside other values, and inside a message's fields."""
    assert says in refusal({"it": [value]})
    for found in instead(value):
        assert comes_back({"it": [found]})


def _without_del(value: Any) -> Any:
    del value
    kind = dataclasses.make_dataclass("Deleted", [("a", int, 1)])
    return kind()


@tries("use zoneinfo.ZoneInfo or datetime.timezone", "make it by its name")
def test_time_zones() -> None:
    """Those of the standard library."""
    own: Any = type("Own", (tzinfo,), {"utcoffset": lambda zone, moment: timedelta(hours=1)})
    assert "zoneinfo.ZoneInfo or datetime.timezone" in refusal(datetime(2025, 1, 1, tzinfo=own()))
    for zone in (ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=1))):
        assert comes_back(datetime(2025, 1, 1, tzinfo=zone))
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    file = BytesIO(b"TZif" + bytes(16) + counts + struct.pack(">lbb", 0, 0, 0) + b"UTC\0")
    assert "make it by its name" in refusal(ZoneInfo.from_file(file))
    assert comes_back(ZoneInfo("UTC"))


@tries("use list, dict, set or int as its factory, or a plain dict")
def test_factories() -> None:
    """Each of those that are named."""
    assert "use list, dict, set or int" in refusal(defaultdict(lambda: 1))
    for factory in (list, dict, set, int):
        assert comes_back(defaultdict(factory, {"a": factory()}))
    assert comes_back(dict(defaultdict(lambda: 1, a=1)))


@tries("use a numeric dtype, or a list", "import numpy in the application before it is read")
def test_arrays() -> None:
    """A numeric one, a list; and a process that imports numpy."""
    objects = np.array([1, None])
    assert "use a numeric dtype, or a list" in refusal(objects)
    assert SERDE.loads_typed(SERDE.dumps_typed(np.array([1, 2]))).tolist() == [1, 2]
    assert comes_back(objects.tolist())
    stored = SERDE.dumps_typed(np.array([1, 2]))
    code = (
        "from wren_sessions import SafeSerializer\n"
        f"stored = {stored!r}\n"
        "try: SafeSerializer().loads_typed(stored)\n"
        "except Exception as error: print(error)\n"
        "import numpy\n"
        "print(SafeSerializer().loads_typed(stored).tolist())\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    error, found = run.stdout.splitlines()
    assert "import numpy in the application" in error
    assert found == "[1, 2]"


@tries("set it before it is stored", "store those separately")
def test_values_that_are_not_whole() -> None:
    """A field that was never set; attributes that a named tuple has no place for."""
    model = kinds.Profile.model_construct()
    old = kinds.Old.construct()
    note = kinds.Slotted.__new__(kinds.Slotted)
    for value, name in ((model, "name"), (old, "name"), (note, "left")):
        assert f"{name!r}; set it before it is stored" in refusal(value)
    model.name, old.name, note.left, note.right = "x", "x", 1, 2
    for value in (model, old, note):
        assert comes_back(value)

    pair = _loose_pair()
    pair.extra = 1
    assert "store those separately" in refusal(pair)
    extra = vars(pair).copy()
    vars(pair).clear()
    assert comes_back((pair, extra))


class Loose(kinds.Pair):
    """A named tuple that takes attributes."""


def _loose_pair() -> Any:
    return Loose(1, 2)


@tries("or read the value with PlainSerializer and write it anew", "give it one, since a")
def test_classes_that_changed(app: App) -> None:
    """A field comes back, with a default; or what is stored is written anew."""
    old = app.releases(dataclasses.make_dataclass("Thing", ["a", "b"]))
    stored = SERDE.dumps_typed(old(1, 2))
    new = app.releases(dataclasses.make_dataclass("Thing", ["a"]))
    assert "'b', which the class does not have" in reading(stored, SafeSerializer(strict=True))
    fields = PlainSerializer().loads_typed(stored).value
    assert comes_back(new(a=fields["a"]))
    again = app.releases(dataclasses.make_dataclass("Thing", ["a", ("b", int, 0)]))
    assert SERDE.loads_typed(stored) == again(1, 2)
    app.releases(dataclasses.make_dataclass("Thing", ["a", "b", "c"]))
    assert "'c', which has no plain default; give it one" in reading(stored)
    last = app.releases(dataclasses.make_dataclass("Thing", ["a", "b", ("c", int, 3)]))
    assert SERDE.loads_typed(stored) == last(1, 2, 3)


@tries("keep large things outside the session, or raise it", "keep it flat, with ids instead of")
def test_limits() -> None:
    """Raised as it is written there; and where nothing can be raised, that is not proposed."""
    deep: Any = []
    for _ in range(20):
        deep = [deep]
    for name, value, low, high in (
        ("max_value_bytes", "x" * 100, 50, 200),
        ("max_items", list(range(100)), 50, 200),
        ("max_depth", deep, 10, 50),
    ):
        text = refusal(value, SafeSerializer(limits=Limits(**{name: low})))
        found = re.search(r"SafeSerializer\(limits=Limits\((\w+)=…\)\)", text)
        assert found, text
        raised = SafeSerializer(limits=Limits(**{found[1]: high}))
        assert comes_back(value, raised)
        assert "raise it" in reading(
            raised.dumps_typed(value), SafeSerializer(limits=Limits(**{name: low}))
        )
    for _ in range(1_000):
        deep = [deep]
    text = refusal(deep)
    assert "keep it flat, with ids instead of references" in text
    assert "raise it" not in text
    assert comes_back({"1": {"next": "2"}, "2": {"next": "1"}})


@tries("read it where fewer calls are open, or raise sys.setrecursionlimit")
@pytest.mark.parametrize("way", ["fewer calls", "setrecursionlimit"])
def test_a_stack_that_is_nearly_used_up(way: str) -> None:
    """Either gives the room that reading takes."""
    value = [kinds.Slotted([kinds.Frozen("x")])]
    stored = SERDE.dumps_typed(value)
    room = next(room for room in range(4, 100) if "stack" in _told_with_room(room, stored))
    assert "fewer calls are open, or raise sys.setrecursionlimit" in _told_with_room(room, stored)
    if way == "fewer calls":
        assert SERDE.loads_typed(stored) == value
        return
    before = sys.getrecursionlimit()

    def read_with_more() -> Any:
        sys.setrecursionlimit(before + 1_000)
        try:
            return SERDE.loads_typed(stored)
        finally:
            sys.setrecursionlimit(before)

    assert nearly_out_of_stack(read_with_more, room) == value


def _told_with_room(room: int, stored: tuple[str, bytes]) -> str:
    """What is said of a value where the stack has room for so many calls."""
    try:
        nearly_out_of_stack(lambda: SERDE.loads_typed(stored), room)
    except SerializationError as error:
        return str(error)
    except RecursionError:
        return ""  # it did not even get there
    return ""


@tries("a sentinel of the application's own cannot be stored: use None, or an enum")
def test_sentinels() -> None:
    """Both of what is named."""
    core: Any = pytest.importorskip("pydantic_core")
    own = type(core.MISSING)("OWN")
    assert "use None, or an enum" in refusal({"a": own})
    assert comes_back({"a": None, "b": kinds.Mood.CALM})


# --- other serializers ----------------------------------------------------------------------------


class Shouting(BaseModel):
    """A model that its own serializer changes."""

    text: str = "x"

    @field_serializer("text")
    def _loud(self, text: str) -> str:
        return text.upper()


@tries(
    "read it once with the serializer that wrote it, and write it again",
    "read it once with JsonPlusSerializer, and write it again with SafeSerializer",
)
def test_what_another_serializer_stored() -> None:
    """That one reads it, and ours writes it."""
    pickling = JsonPlusSerializer(pickle_fallback=True)
    stored = pickling.dumps_typed({"it": complex(1, 2)})
    assert stored[0] == "pickle"
    assert "read it once with the serializer that wrote it" in reading(stored)
    assert comes_back(pickling.loads_typed(stored))

    theirs = JsonPlusSerializer(allowed_msgpack_modules=True)
    stored = theirs.dumps_typed(Shouting())
    assert "read it once with JsonPlusSerializer" in reading(stored)
    assert comes_back(theirs.loads_typed(stored))


@tries("use SafeSerializer to write")
def test_plain_data_is_written_by_the_other_one() -> None:
    """Which is imported from the same place."""
    with pytest.raises(SerializationError, match="use SafeSerializer to write"):
        PlainSerializer().dumps_typed([1])
    assert PlainSerializer().loads_typed(SERDE.dumps_typed([1])) == [1]


# --- keys and packages ----------------------------------------------------------------------------


@tries("add that key, behind the first one", "make one with Encryption.generate_key()")
def test_keys() -> None:
    """A key that is missing goes behind the first; one that is none is generated."""
    old, new = Encryption.generate_key("old"), Encryption.generate_key("new")
    sealed = Keyring(Encryption([old])).seal("record", bytes(16), ("s",), b"x")
    with pytest.raises(DecryptionError, match="add that key, behind the first one"):
        Keyring(Encryption([new])).open("record", ("s",), sealed)
    assert Keyring(Encryption([new, old])).open("record", ("s",), sealed)[1] == b"x"
    with pytest.raises(ConfigurationError, match=r"make one with Encryption\.generate_key\(\)"):
        Encryption(["k:c2hvcnQ="])
    Encryption([Encryption.generate_key()])


BLOCKED: Final = """
import sys
class Without:
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, *rest):
        return None if name.startswith({package!r}) else self.finder.find_spec(name, *rest)
if sys.argv[1:] == ["without"]: sys.meta_path[:] = map(Without, sys.meta_path)
try:
    {use}
    print("ok")
except Exception as error: print(error)
"""


@tries(
    "encryption needs cryptography: pip install",
    "compressed sessions need zstandard: pip install",
    "which the extra 'cli' brings: pip install",
    "does not have: install langchain-core, or a newer one",
)
@pytest.mark.parametrize(
    ("package", "use", "says"),
    [
        (
            "cryptography",
            "from wren_sessions import Encryption as E; E([E.generate_key()])",
            "pip install 'wren-sessions[encryption]'",
        ),
        (
            "zstandard",
            "from wren_sessions import Compression as C; C()",
            "pip install 'wren-sessions[compression]'",
        ),
        (
            "typer",
            "from wren_sessions.cli import main; assert main(['--version']) == 0",
            "pip install 'wren-sessions[cli]'",
        ),
        (
            "langchain_core",
            "from wren_sessions import SafeSerializer as S; S().loads_typed({stored!r})",
            "install langchain-core",
        ),
    ],
)
def test_packages_that_are_missing(package: str, use: str, says: str) -> None:
    """The error names what brings the package, and with the package it works."""
    stored = SERDE.dumps_typed([HumanMessage("x")])
    code = BLOCKED.format(package=package, use=use.format(stored=stored))

    def told(*arguments: str) -> str:
        run = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
        )
        return run.stdout + run.stderr

    assert says in told("without")
    assert told().splitlines()[-1] == "ok"
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text("utf-8"))["project"]
    extra = re.search(r"\[(\w+)\]", says)
    if extra:
        assert any(name.startswith(package) for name in project["optional-dependencies"][extra[1]])
