"""What LangGraph's own serializer stored is read by our rules; and what it can do, ours can."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import ormsgpack
import pydantic
import pydantic.v1
import pytest
from hypothesis import given
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Command, Interrupt, Send
from typing_extensions import TypedDict

from values import drawn, kinds
from values.comparing import same
from values.test_round_trips import EDGES, MODERATE, NOW
from wren_sessions import PlainObject, PlainSerializer, SafeSerializer
from wren_sessions.errors import SerializationError, UnsafeTypeError

THEIRS: Final = JsonPlusSerializer(allowed_msgpack_modules=True)
OURS: Final = SafeSerializer()
T = TypeVar("T")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Their serializer logs each type that is on no list."""
    logging.getLogger("langgraph.checkpoint.serde.jsonplus").setLevel(logging.CRITICAL)


def theirs_is_exact(value: Any) -> bool:
    """Whether LangGraph's serializer gives a value back as it was."""
    try:
        return same(THEIRS.loads_typed(THEIRS.dumps_typed(value)), value)
    except Exception:  # noqa: BLE001 -- whatever it does not like
        return False


@MODERATE
@given(drawn.values)
def test_what_theirs_gives_back_ours_gives_back(value: Any) -> None:
    """No value is refused or changed that works with LangGraph's serializer."""
    if theirs_is_exact(value):
        assert same(OURS.loads_typed(OURS.dumps_typed(value)), value)


@MODERATE
@given(drawn.values)
def test_what_theirs_stored_exactly_ours_reads_the_same(value: Any) -> None:
    """A session that began with LangGraph's serializer goes on."""
    if theirs_is_exact(value):
        assert same(
            OURS.loads_typed(THEIRS.dumps_typed(value)),
            THEIRS.loads_typed(THEIRS.dumps_typed(value)),
        )


@MODERATE
@given(drawn.values)
def test_whatever_theirs_stored_is_read_or_refused(value: Any) -> None:
    """With an error of our own, and as plain data by the reader for viewers."""
    try:
        stored = THEIRS.dumps_typed(value)
    except Exception:  # noqa: BLE001 -- whatever it does not like
        return
    PlainSerializer().loads_typed(stored)
    try:
        OURS.loads_typed(stored)
    except SerializationError:
        return


EXACT: Final[list[Any]] = [
    [HumanMessage("x", id="1"), ToolMessage("y", tool_call_id="1", artifact={"a": 1})],
    AIMessage("x", tool_calls=[{"name": "f", "args": {"a": [1]}, "id": "1"}]),
    Send("n", {"messages": [HumanMessage("x")]}),
    Command(update={"a": 1}, goto=["n"], resume=5),
    [Interrupt("v", id="i")],
    kinds.Mood.CALM,
    kinds.Level.HIGH,
    kinds.Frozen("x", 3),
    kinds.Steady(name="x"),
    kinds.Old(name="x"),
    kinds.Pair(1, "a"),
    kinds.Profile(name="x", place=(1, 2)),
    deque([1, 2]),
    {(1, 2), (3, 4)},
    {"a": {1: "b", 2: {"c"}}},
    pydantic.SecretStr("hush"),
]


@pytest.mark.parametrize("value", EXACT, ids=lambda value: type(value).__name__)
def test_what_is_stored_in_many_apps_is_read(value: Any) -> None:
    """Equal to what was stored."""
    assert OURS.loads_typed(THEIRS.dumps_typed(value)) == value


@pytest.mark.parametrize("value", EDGES, ids=lambda value: type(value).__name__)
def test_edges_are_read_or_refused(value: Any) -> None:
    """What theirs gives back exactly, ours reads; nothing else than our errors is raised."""
    if theirs_is_exact(value):
        found = OURS.loads_typed(THEIRS.dumps_typed(value))
        assert same(found, THEIRS.loads_typed(THEIRS.dumps_typed(value)))


class Inner(pydantic.BaseModel):
    """A model in a model."""

    a: int
    mood: kinds.Mood = kinds.Mood.CALM


class Other(pydantic.BaseModel):
    """Another one."""

    a: int


class Nested(pydantic.BaseModel):
    """A model with others in it, in many ways."""

    one: Inner
    maybe: Inner | None = None
    many: list[Inner] = []
    named: dict[str, list[Inner]] = {}
    pair: tuple[Inner, int] | None = None
    note: kinds.Frozen | None = None
    plain: dict[str, Any] = {}
    union: Inner | Other | None = None


class Serialized(pydantic.BaseModel):
    """A model that stores something else than it holds."""

    a: int

    @pydantic.field_serializer("a")
    def _text(self, value: int) -> str:
        return str(value)


def test_models_in_models_are_restored() -> None:
    """Their serializer stored dicts; the annotations say what they were."""
    value = Nested(
        one=Inner(a=1),
        maybe=Inner(a=2, mood=kinds.Mood.TIRED),
        many=[Inner(a=3)],
        named={"x": [Inner(a=4)]},
        pair=(Inner(a=5), 6),
        note=kinds.Frozen("n"),
        plain={"a": {"a": 1}},
    )
    assert OURS.loads_typed(THEIRS.dumps_typed(value)) == value


def test_what_the_annotations_leave_open_is_refused() -> None:
    """A dict that may have been one of two models, and what a serializer of the model changed."""
    for value in (Nested(one=Inner(a=1), union=Other(a=1)), Serialized(a=1)):
        with pytest.raises(SerializationError, match="JsonPlusSerializer"):
            OURS.loads_typed(THEIRS.dumps_typed(value))


def test_our_list_holds_for_what_theirs_stored() -> None:
    """And nothing that it names is imported or called."""
    narrow = SafeSerializer(allow=[kinds.Frozen])
    assert narrow.loads_typed(THEIRS.dumps_typed(kinds.Frozen("x"))) == kinds.Frozen("x")
    with pytest.raises(UnsafeTypeError, match="kinds:Slotted"):
        narrow.loads_typed(THEIRS.dumps_typed(kinds.Slotted(1)))


CALLS: Final = [
    (0, ("os", "system", "true")),
    (1, ("subprocess", "Popen", (["true"],))),
    (2, ("subprocess", "Popen", {"args": ["true"]})),
    (3, ("builtins", "eval", "1", "__call__")),
    (0, ("importlib", "import_module", "this")),
    (0, ("values.kinds", "a_function", 1)),
    (4, ("values.kinds", "Loaded", {"a": 1})),
    (5, ("values.kinds", "Plain", {"a": 1}, "model_validate_json")),
    (3, ("datetime", "datetime", "2025", "strptime")),
    (5, ("values.unheard_of", "Model", {}, "x")),
    (0, ("values.kinds", "__getattr__", "x")),
]


@pytest.mark.parametrize(("code", "content"), CALLS, ids=lambda value: str(value)[:40])
def test_a_stored_call_is_never_made(code: int, content: Any) -> None:
    """Whatever it names, in whichever form."""
    stored = ormsgpack.packb({"a": [ormsgpack.Ext(code, ormsgpack.packb(content))]})
    kinds.RAN.clear()
    with pytest.raises((UnsafeTypeError, SerializationError)):
        OURS.loads_typed(("msgpack", stored))
    assert kinds.RAN == []


def test_pickle_is_refused() -> None:
    """On any path."""
    for reader in (OURS, PlainSerializer()):
        with pytest.raises(UnsafeTypeError, match="pickle"):
            reader.loads_typed(("pickle", b"cos\nsystem\n(S'true'\ntR."))


def test_an_unknown_tag_says_what_may_be_missing() -> None:
    """Such as the serializer that decrypts."""
    with pytest.raises(SerializationError, match=r"'msgpack\+aes'.*decrypts"):
        OURS.loads_typed(("msgpack+aes", b"x"))


def test_langchains_json_is_read() -> None:
    """Messages, under the names that early versions gave them."""
    message = AIMessage("x", id="1", tool_calls=[{"name": "f", "args": {}, "id": "2"}])
    stored = json.dumps([dumpd(message), {"plain": 1}, float("nan")]).encode()
    found = OURS.loads_typed(("json", stored))
    assert found[:2] == [message, {"plain": 1}]
    plain = PlainSerializer().loads_typed(("json", stored))
    assert isinstance(plain[0], PlainObject)
    assert plain[0].value["content"] == "x"


@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "values.kinds:Plain"])
def test_langchains_json_calls_nothing(name: str) -> None:
    """A constructor in JSON is refused like any other."""
    module, _, name = name.partition(":")
    content = {"lc": 2, "type": "constructor", "id": [*module.split("."), name], "kwargs": {"a": 1}}
    with pytest.raises(UnsafeTypeError, match=name):
        OURS.loads_typed(("json", json.dumps(content).encode()))


def test_enums_are_found_by_their_values() -> None:
    """It is all that was stored; combinations of flags too."""
    for value in (kinds.Mood.TIRED, kinds.Access.READ | kinds.Access.RUN, kinds.Word.YES):
        assert OURS.loads_typed(THEIRS.dumps_typed([value])) == [value]
    Mood = enum.Enum(  # noqa: N806 -- a class
        "Mood", {"CALM": "loud"}, module="values.kinds"
    )
    with pytest.raises(SerializationError, match="none of its members"):
        OURS.loads_typed(THEIRS.dumps_typed(Mood["CALM"]))


# --- what it makes of models ----------------------------------------------------------------------


class Leaf(pydantic.BaseModel):
    """A small model."""

    n: int = 1


class Named(pydantic.RootModel[list[Leaf]]):
    """A model that is one value."""


class Text(pydantic.RootModel[str]):
    """A model that is a text."""


class Aliased(pydantic.BaseModel):
    """A model that is stored under aliases, some of them the names of other fields."""

    first: int = pydantic.Field(1, alias="second")
    second: int = pydantic.Field(2, alias="first")
    user_name: str = pydantic.Field("x", serialization_alias="userName")
    leaf: Leaf | None = pydantic.Field(None, serialization_alias="theLeaf")

    model_config = pydantic.ConfigDict(serialize_by_alias=True, populate_by_name=True)


class Computed(pydantic.BaseModel):
    """A model with fields that are made of others."""

    side: int = 2

    model_config = pydantic.ConfigDict(extra="forbid")

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        """What is stored, and made again."""
        return self.side**2

    @pydantic.computed_field(alias="cube")  # type: ignore[prop-decorator]
    @property
    def volume(self) -> int:
        """The same under an alias."""
        return self.side**3


class Page(pydantic.BaseModel, Generic[T]):
    """A generic model."""

    it: T | None = None

    class Within(pydantic.BaseModel):
        """A model in another class, which theirs does not find."""

        n: int = 1


LeafPage = Page[Leaf]


@dataclasses.dataclass
class Data:
    """A dataclass with models in it."""

    leaf: Leaf
    leaves: list[Leaf]
    pair: tuple[Leaf, int]


@pydantic.dataclasses.dataclass
class CheckedData:
    """A dataclass of pydantic's, whose constructor looks at what it gets."""

    leaf: Leaf
    pair: tuple[int, int] = (1, 2)


class Twin(NamedTuple):
    """A named tuple with a model in it."""

    leaf: Leaf
    n: int = 1


class Typed(TypedDict):
    """A dict with a model in it."""

    leaf: Leaf


class Cat(pydantic.BaseModel):
    """One of two that a literal tells apart."""

    kind: Literal["cat"] = "cat"
    name: str = "x"


class Dog(pydantic.BaseModel):
    """The other."""

    kind: Literal["dog"] = "dog"
    name: str = "x"


class Holds(pydantic.BaseModel):
    """A model that holds anything, under many annotations."""

    root: Named | None = None
    text: Text | int | None = None
    roots: dict[str, Named] = {}
    computed: list[Computed] = []
    aliased: Aliased | None = None
    data: Data | None = None
    checked: CheckedData | None = None
    twin: Twin | None = None
    typed: Typed | None = None
    page: Page[Leaf] | None = None
    pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")] | None = None
    wide: Inner | Leaf | None = None
    sequence: Sequence[Leaf] = []
    mapping: Mapping[str, Leaf] = {}
    queue: deque[Leaf] = deque()
    ordered: OrderedDict[str, Leaf] = OrderedDict()
    lists: defaultdict[str, list[Leaf]] = defaultdict(list)
    counter: Counter[str] = Counter()
    size: pydantic.ByteSize = pydantic.ByteSize(0)
    raw: bytearray = bytearray()
    secret: pydantic.Secret[int] | None = None
    optional: list[Leaf | None] = []
    deep: dict[str, list[tuple[Leaf, ...]]] = {}

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)


MODELS: Final[list[Any]] = [
    Named([Leaf(n=2)]),
    Text("x"),
    Aliased(first=3, second=4, user_name="u", leaf=Leaf(n=2)),
    Computed(side=3),
    LeafPage(it=Leaf(n=2)),
    Page.Within(n=3),
    CheckedData(Leaf(n=2), (3, 4)),
    Holds(root=Named([Leaf(n=2)]), roots={"a": Named([])}),
    Holds(text=Text("a")),
    Holds(text=5),
    Holds(
        computed=[Computed(side=3)], aliased=Aliased(first=3, second=1, user_name="u", leaf=Leaf())
    ),
    Holds(data=Data(Leaf(n=2), [Leaf()], (Leaf(), 2)), checked=CheckedData(Leaf(), (3, 4))),
    Holds(twin=Twin(Leaf(n=2), 3), typed={"leaf": Leaf(n=2)}),
    Holds(page=LeafPage(it=Leaf(n=2)), pet=Dog(name="rex")),
    Holds(wide=Inner(a=1)),
    Holds(wide=Leaf()),
    Holds(sequence=[Leaf(n=2)], mapping={"a": Leaf()}, queue=deque([Leaf()])),
    Holds(
        ordered=OrderedDict(a=Leaf()), lists=defaultdict(list, a=[Leaf()]), counter=Counter("ab")
    ),
    Holds(size=pydantic.ByteSize(5), raw=bytearray(b"x"), secret=pydantic.Secret(5)),
    Holds(optional=[None, Leaf()], deep={"a": [(Leaf(), Leaf(n=2))]}),
]


@pytest.mark.parametrize("value", MODELS, ids=lambda value: repr(value)[:40])
def test_whatever_stands_in_a_model_is_restored(value: Any) -> None:
    """By its annotations; of types too, where LangGraph's own serializer gives dicts and lists."""
    found = OURS.loads_typed(THEIRS.dumps_typed([value, {"a": value}]))
    assert found == [value, {"a": value}]
    assert dumped(found[0]) == dumped(value)
    PlainSerializer().loads_typed(THEIRS.dumps_typed(value))


def dumped(value: Any) -> Any:
    """A value with the types of all that stands in it."""
    if isinstance(value, pydantic.BaseModel):
        return type(value), {name: dumped(item) for name, item in value.__dict__.items()}
    if dataclasses.is_dataclass(value):
        return type(value), {name: dumped(item) for name, item in vars(value).items()}
    if isinstance(value, Mapping):
        factory = getattr(value, "default_factory", None)
        return type(value), factory, {key: dumped(item) for key, item in value.items()}
    if isinstance(value, list | tuple | deque):
        return type(value), list(map(dumped, value))
    return type(value), value


class OldRoot(pydantic.v1.BaseModel):
    """A root model of pydantic 1."""

    __root__: list[int]


class OldLeaf(pydantic.v1.BaseModel):
    """A small model of pydantic 1."""

    n: int = 1


class OldHolds(pydantic.v1.BaseModel):
    """A model of pydantic 1 with others in it."""

    root: OldRoot | None = None
    leaf: OldLeaf | None = None
    leaves: dict[str, list[OldLeaf]] = {}
    pair: tuple[OldLeaf, int] | None = None


@pytest.mark.parametrize(
    "value",
    [
        OldRoot(__root__=[1]),
        OldHolds(),
        OldHolds(root=OldRoot(__root__=[1]), leaf=OldLeaf(n=2)),
        OldHolds(leaves={"a": [OldLeaf(n=2)]}, pair=(OldLeaf(), 2)),
    ],
    ids=repr,
)
def test_models_of_pydantic_1_are_restored(value: Any) -> None:
    """Their root models in others were stored as the values that they hold."""
    assert OURS.loads_typed(THEIRS.dumps_typed([value])) == [value]


class Shown(pydantic.BaseModel):
    """A model with serializers that are for JSON alone."""

    a: int
    b: Annotated[int, pydantic.PlainSerializer(str, when_used="json")] = 1

    @pydantic.field_serializer("a", when_used="json")
    def _text(self, value: int) -> str:
        return str(value)


class InAnnotation(pydantic.BaseModel):
    """A model with a serializer in an annotation."""

    a: list[Annotated[int, pydantic.PlainSerializer(str)]]


def test_serializers_for_json_do_no_harm() -> None:
    """What theirs stored was not JSON; what a serializer did change is refused."""
    assert OURS.loads_typed(THEIRS.dumps_typed(Shown(a=1))) == Shown(a=1)
    with pytest.raises(SerializationError, match="own serializer"):
        OURS.loads_typed(THEIRS.dumps_typed(InAnnotation(a=[1])))


def test_a_generic_model_is_found_by_the_name_that_theirs_gave_it() -> None:
    """Also where theirs does not find it, since it was made in a function."""

    def made() -> Any:
        return Page[dict[str, Leaf]]

    kind = made()
    assert type(OURS.loads_typed(THEIRS.dumps_typed(kind(it={"a": Leaf()})))) is kind


# --- the JSON of early versions -------------------------------------------------------------------


def called(kind: Any, *args: Any, method: Any = None, **kwargs: Any) -> dict[str, Any]:
    """How early versions stored an object."""
    return {
        "lc": 2,
        "type": "constructor",
        "id": [*kind.__module__.split("."), kind.__name__],
        **({"method": method} if method else {}),
        **({"args": args} if args else {}),
        **({"kwargs": kwargs} if kwargs else {}),
    }


ZONE: Final = called(timezone, called(timedelta, 0, 3600, 0))
JSON: Final[list[tuple[Any, Any]]] = [
    (called(datetime, "2025-11-08T15:03:00+01:00", method="fromisoformat"), NOW),
    (called(date, 2025, 11, 8), date(2025, 11, 8)),
    (called(time, 15, 3, 0, 5, ZONE, fold=1), time(15, 3, 0, 5, NOW.tzinfo, fold=1)),
    (called(timedelta, 1, 2, 3), timedelta(1, 2, 3)),
    (ZONE, timezone(timedelta(hours=1))),
    (called(ZoneInfo, "Europe/Berlin"), ZoneInfo("Europe/Berlin")),
    (called(UUID, UUID(int=5).hex), UUID(int=5)),
    (called(Decimal, "1.50"), Decimal("1.50")),
    (called(set, [1, [2, 3]]), {1, (2, 3)}),
    (called(frozenset, ["a"]), frozenset("a")),
    (called(deque, [1, 2]), deque([1, 2])),
    (called(re.compile, "a+", 32), re.compile("a+")),
    (called(Path, "/", "a"), Path("/a")),
    (called(IPv4Address, "10.0.0.1"), IPv4Address("10.0.0.1")),
    (called(bytes, b"ab".hex(), method="fromhex"), b"ab"),
    (called(bytearray, b"ab".hex(), method="fromhex"), bytearray(b"ab")),
    (called(kinds.Mood, "calm"), kinds.Mood.CALM),
    (called(kinds.Frozen, name="x", number=2), kinds.Frozen("x", 2)),
    (called(kinds.Pair, left=1, right=2), kinds.Pair(1, 2)),
    (called(Send, node="n", arg={"a": 1}), Send("n", {"a": 1})),
    (called(pydantic.SecretStr, "x"), pydantic.SecretStr("x")),
    (called(Leaf, method=[None, "model_construct"], n=2), Leaf(n=2)),
    (called(OldLeaf, method=[None, "construct"], n=2), OldLeaf(n=2)),
    (called(ValueError, "no"), None),
]


@pytest.mark.parametrize(("stored", "value"), JSON, ids=lambda value: str(value)[:50])
def test_the_json_of_early_versions_is_read(stored: Any, value: Any) -> None:
    """Nothing is called; of an error nothing is left, as with LangGraph."""
    found = OURS.loads_typed(("json", json.dumps({"a": [stored]}).encode()))
    assert same(found, {"a": [value]})
    PlainSerializer().loads_typed(("json", json.dumps({"a": [stored]}).encode()))
