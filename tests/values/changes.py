"""Changes of an application's classes between two releases: what is stored, and what it becomes.

Each says how the value is made by the old release, and what the new one gets. The table in
``docs/reference/changes.md`` is made of them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from functools import partial
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import pydantic
import pydantic.v1
from pydantic import ConfigDict

from values.changing import App, dataclass_kind, model_kind, named_tuple_kind, old_model_kind
from wren_sessions import Migrations

NAME: Final = "changing_app:Changing"
UNREADABLE: Final = "unreadable"
GONE: Final = "gone"
Make = Callable[[App], Any]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Change:
    """A change between two releases.

    Attributes:
        what: what changed, for the table.
        of: in what.
        old: installs the old release's classes; the value that it stores.
        new: installs the new release's classes; the value that it gets, `UNREADABLE`, or `GONE`.
        line: what is declared, for the table; empty if nothing.
        migrations: what is declared.
        back: what the old release gets once the new one has written it: None for what it stored.
        channel: the channel's name in the new release; it was "it".
    """

    what: str
    of: str
    old: Make
    new: Make
    line: str = ""
    migrations: Callable[[], Migrations] | None = None
    back: Any = None
    channel: str = "it"


class Sort(NamedTuple):
    """A sort of class."""

    name: str
    kind: Any


MODEL: Final = Sort("pydantic model", model_kind)
OLD_MODEL: Final = Sort("pydantic 1 model", old_model_kind)
DATACLASS: Final = Sort("dataclass", dataclass_kind)
TUPLE: Final = Sort("named tuple", named_tuple_kind)
SORTS: Final = (MODEL, OLD_MODEL, DATACLASS, TUPLE)


def made(kind: Any, wrap: Callable[[Any], Any] = lambda value: value, **values: Any) -> Make:
    """Installs a class, and makes an object of it, or what holds one."""

    def make(app: App) -> Any:
        return wrap(app.releases(kind())(kept=5, **values))

    return make


def unreadable(install: Make) -> Make:
    """Installs classes that do not fit what is stored."""

    def make(app: App) -> Any:
        install(app)
        return UNREADABLE

    return make


def required(sort: Sort) -> Any:
    """A class with a further field that has no default."""
    if sort is DATACLASS:
        return make_dataclass("Changing", [("kept", int), ("city", str)])
    if sort is TUPLE:
        return NamedTuple("Changing", [("kept", int), ("city", str)])
    module: Any = pydantic if sort is MODEL else pydantic.v1
    return module.create_model("Changing", kept=(int, ...), city=(str, ...))


def _required(sort: Sort, app: App) -> Any:
    return app.releases(required(sort))


def _with_city(sort: Sort, app: App) -> Any:
    return _required(sort, app)(kept=5, city="?")


def declared(**lines: Any) -> Callable[[], Migrations]:
    """Migrations of the class by the names of methods, and their further arguments."""

    def make() -> Migrations:
        found = Migrations()
        for method, given in lines.items():
            arguments, names = ((), given) if isinstance(given, dict) else ((given,), {})
            getattr(found, method)(NAME, *arguments, **names)
        return found

    return make


def with_function(function: Callable[[Any], Any], since: int = 1) -> Callable[[], Migrations]:
    """Migrations with a function."""

    def make() -> Migrations:
        found = Migrations()
        found.migration(NAME, since=since)(function)
        return found

    return make


def renamed(kind: Any) -> Make:
    """The class is called Profile now."""

    def make(app: App) -> Any:
        app.drop("Changing")
        return app.also("Profile", kind())(kept=5)

    return make


def members(names: str, member: str) -> Make:
    """An enum with these members, and one of them."""
    return lambda app: app.releases(enum.Enum("Changing", names))[member]


def _fields() -> list[Change]:
    found = []
    for sort in SORTS:
        kind, of = sort.kind, sort.name
        flat = sort is TUPLE
        found += [
            Change(
                "a field is removed",
                of,
                made(lambda kind=kind: kind(gone=1), gone=2),
                unreadable(made(kind)) if flat else made(kind),
            ),
            Change(
                "a field is removed",
                of,
                made(lambda kind=kind: kind(gone=1), gone=1),
                made(kind),
                'field_removed(cls, "gone")',
                declared(field_removed="gone"),
            ),
            Change(
                "a field with a default is added",
                of,
                made(kind),
                made(lambda kind=kind: kind(new="x")),
                back=UNREADABLE if flat else None,
            ),
            Change(
                "a field without a default is added",
                of,
                made(kind),
                unreadable(partial(_required, sort)),
            ),
            Change(
                "a field without a default is added",
                of,
                made(kind),
                partial(_with_city, sort),
                "@migration(cls, since=1)",
                with_function(lambda fields: {**fields, "city": "?"}),
                UNREADABLE,
            ),
            Change(
                "a field is renamed",
                of,
                made(lambda kind=kind: kind(name=""), name="Ann"),
                made(lambda kind=kind: kind(full_name=""), full_name="Ann"),
                'field_renamed(cls, name="full_name")',
                declared(field_renamed={"name": "full_name"}),
                UNREADABLE if flat else None,
            ),
            Change(
                "the class is renamed",
                of,
                made(kind),
                renamed(kind),
                'renamed("app:Changing", "app:Profile")',
                lambda: Migrations().renamed(NAME, "changing_app:Profile"),
                UNREADABLE,
            ),
        ]
    return found


def _enums() -> list[Change]:
    free = members("FREE PAID", "FREE")
    return [
        Change("a member is added", "enum", free, members("FREE PAID MORE", "FREE")),
        Change("members change places", "enum", free, members("PAID FREE", "FREE")),
        Change("a member is removed", "enum", free, unreadable(members("PAID", "PAID"))),
        Change(
            "a member is removed",
            "enum",
            free,
            members("PAID", "PAID"),
            'member_renamed(cls, FREE="PAID")',
            declared(member_renamed={"FREE": "PAID"}),
            members("FREE PAID", "PAID"),
        ),
        Change(
            "a member is renamed",
            "enum",
            free,
            members("BASIC PAID", "BASIC"),
            'member_renamed(cls, FREE="BASIC")',
            declared(member_renamed={"FREE": "BASIC"}),
            UNREADABLE,
        ),
    ]


class Typed(NamedTuple):
    """A change of a field's type.

    Attributes:
        what: for the table.
        before: the type before.
        after: the type now.
        value: what was stored.
        found: what becomes of it.
    """

    what: str
    before: Any
    after: Any
    value: Any
    found: Any


TYPES: Final = (
    Typed("a field's type changes, and takes the value", int, float | None, 3, 3),
    Typed("a field's type changes, and lax mode takes it", str, int, "3", 3),
    Typed("a field's type changes, and does not take it", int, str, 3, UNREADABLE),
    Typed("the type of a list's elements changes", list[str], list[int], ["a"], UNREADABLE),
    Typed("a choice of a Literal goes", str, Literal["b"], "a", UNREADABLE),
)


def typed(sort: Sort, kind: Any) -> Any:
    """A class with a field of a type."""
    fields = [("kept", int), ("it", kind)]
    if sort is DATACLASS:
        return make_dataclass("Changing", fields)
    if sort is TUPLE:
        return NamedTuple("Changing", fields)
    module: Any = pydantic if sort is MODEL else pydantic.v1
    return module.create_model("Changing", kept=(int, ...), it=(kind, ...))


def _types() -> list[Change]:
    def old(sort: Sort, change: Typed, app: App) -> Any:
        return app.releases(typed(sort, change.before))(kept=5, it=change.value)

    def new(sort: Sort, change: Typed, app: App) -> Any:
        kind = app.releases(typed(sort, change.after))
        return UNREADABLE if change.found is UNREADABLE else kind(kept=5, it=change.found)

    return [
        Change(
            change.what,
            sort.name,
            partial(old, sort, change),
            partial(new, sort, change),
            back=UNREADABLE if change.value == "3" else None,  # text takes no number
        )
        for sort in SORTS
        for change in TYPES
    ]


def _open(app: App) -> Any:
    config = ConfigDict(extra="allow")
    kind = pydantic.create_model("Changing", kept=(int, ...), __config__=config)
    return app.releases(kind)(kept=5, more=6)


def _box(app: App, kind: Any, **values: Any) -> Any:
    class Box(pydantic.BaseModel, Generic[Item]):
        item: Item

    inner = app.releases(kind)
    made: Any = app.also("Box", Box).__class_getitem__(inner)
    return made(item=inner(kept=5, **values))


def _holding(app: App, kind: Any, **values: Any) -> Any:
    inner = app.releases(kind)(kept=5, **values)
    return app.also("Holder", make_dataclass("Holder", ["inner"]))(inner)


def _frozen(app: App, *names: str) -> Any:
    fields = [(name, Any) for name in names]
    return app.releases(make_dataclass("Changing", fields, frozen=True))


_SLOTTED: Final[list[Any]] = [("kept", Any), ("gone", Any, field(default=1))]


def _slotted(app: App, *names: str) -> Any:
    return app.releases(make_dataclass("Changing", names, slots=True))


def _others() -> list[Change]:
    gone = {"gone": 2}
    cents = with_function(lambda fields: {"kept": fields["kept"], "cents": fields["dollars"] * 100})
    return [
        Change("the class is renamed", "pydantic model", made(model_kind), _without),
        Change(
            "its module is moved",
            "pydantic model",
            made(model_kind),
            made(model_kind),
            'module_moved("app.before", "app")',
            lambda: Migrations().module_moved("changing_app.before", "changing_app"),
            UNREADABLE,
        ),
        Change(
            "a field has another meaning",
            "pydantic model",
            made(lambda: model_kind(dollars=0), dollars=3),
            made(lambda: model_kind(cents=0), cents=300),
            "@migration(cls, since=1)",
            cents,
            UNREADABLE,
        ),
        Change("it is a dataclass now", "pydantic model", made(model_kind), _as_dataclass),
        Change("it is of pydantic 2 now", "pydantic 1 model", made(old_model_kind), _as_model),
        Change("extras are not allowed any more", "pydantic model", _open, made(model_kind)),
        Change(
            "a field is removed",
            "dataclass with slots",
            lambda app: _slotted(app, "kept", "gone")(5, 2),
            unreadable(lambda app: _slotted(app, "kept")),
        ),
        Change(
            "a field is removed",
            "dataclass with slots",
            lambda app: app.releases(make_dataclass("Changing", _SLOTTED, slots=True))(5),
            lambda app: _slotted(app, "kept")(5),
            'field_removed(cls, "gone")',
            declared(field_removed="gone"),
        ),
        Change(
            "a field is removed",
            "pydantic model in a generic one",
            lambda app: _box(app, model_kind(gone=1), **gone),
            lambda app: _box(app, model_kind()),
        ),
        Change(
            "a field is removed",
            "pydantic model in a dataclass",
            lambda app: _holding(app, model_kind(gone=1), **gone),
            lambda app: _holding(app, model_kind()),
        ),
        Change(
            "a field is removed",
            "pydantic models in lists, tuples and dicts",
            made(lambda: model_kind(gone=1), lambda each: [(each, {"a": [each]})], **gone),
            made(model_kind, lambda each: [(each, {"a": [each]})]),
        ),
        Change(
            "a field is removed",
            "dataclasses in a set that become equal",
            lambda app: {_frozen(app, "kept", "gone")(5, 1)} | {app.kind("Changing")(5, 2)},
            unreadable(lambda app: _frozen(app, "kept")),
        ),
        Change(
            "a field is removed",
            "dataclasses in a set that stay different",
            lambda app: {_frozen(app, "kept", "gone")(5, 1)} | {app.kind("Changing")(6, 1)},
            lambda app: {_frozen(app, "kept")(5)} | {app.kind("Changing")(6)},
        ),
        Change(
            "a key is removed, one is added",
            "TypedDict",
            lambda app: {"a": 1, "gone": 2},
            lambda app: {"a": 1, "gone": 2},
        ),
    ]


def _without(app: App) -> Any:
    app.drop("Changing")
    app.also("Profile", model_kind())
    return UNREADABLE


def _as_dataclass(app: App) -> Any:
    app.releases(dataclass_kind())
    return UNREADABLE


def _as_model(app: App) -> Any:
    app.releases(model_kind())
    return UNREADABLE


def _value(value: Any) -> Make:
    return lambda _: value


def _channels() -> list[Change]:
    both = Migrations().channel_renamed("it", "new")
    both.channel("new", since=1)(lambda value: {"cents": value["dollars"] * 100})
    key = Migrations()
    key.channel("it", since=1)(lambda value: {"full_name": value["name"]})
    return [
        Change("it is removed", "channel", _value([1]), _value([1])),
        Change(
            "it is removed",
            "channel",
            _value([1]),
            _value(GONE),
            'channel_removed("it")',
            lambda: Migrations().channel_removed("it"),
            GONE,
        ),
        Change(
            "it is renamed",
            "channel",
            _value([1]),
            _value([1]),
            'channel_renamed("it", "new")',
            lambda: Migrations().channel_renamed("it", "new"),
            channel="new",
        ),
        Change(
            "it is renamed, and a field of the object in it",
            "channel",
            made(lambda: model_kind(name=""), name="Ann"),
            made(lambda: model_kind(full_name=""), full_name="Ann"),
            'channel_renamed("it", "new").field_renamed(cls, name="full_name")',
            lambda: Migrations().channel_renamed("it", "new").field_renamed(NAME, name="full_name"),
            channel="new",
        ),
        Change(
            "its value has another meaning",
            "channel",
            _value({"dollars": 3}),
            _value({"cents": 300}),
            'channel_renamed("it", "new"), @channel("new", since=1)',
            lambda: both,
            UNREADABLE,
            "new",
        ),
        Change(
            "a key is renamed",
            "TypedDict",
            _value({"name": "Ann"}),
            _value({"full_name": "Ann"}),
            '@channel("it", since=1)',
            lambda: key,
            UNREADABLE,
        ),
    ]


CHANGES: Final = (*_fields(), *_enums(), *_others(), *_types(), *_channels())


def table() -> str:
    """The table of the documentation."""
    rows = [
        f"| {change.of} | {change.what} | {f'`{change.line}`' if change.line else ''} "
        f"| {_words(change.new(App()))} | {_words(change.back)} |"
        for change in sorted(CHANGES, key=lambda change: (change.of, change.what, change.line))
    ]
    head = "| of | change | line | new code gets | old code, after a rollback, gets |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def _words(found: Any) -> str:
    if found is UNREADABLE or found is GONE:
        return "an `UnreadableValue`" if found is UNREADABLE else "nothing"
    if found is None:
        return "what it stored"
    return "the member it is now" if callable(found) else "the value"
