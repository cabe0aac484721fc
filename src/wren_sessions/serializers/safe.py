"""`SafeSerializer`: values come back unchanged, and stored data runs no code.

Stored data may be old, damaged or hostile. So there is no pickle, and nothing that the data names
is imported. No constructor, validator or ``__post_init__`` runs. Instead, fields are restored. Only
two kinds of types may be built: those on LangGraph's official list, and data types (pydantic
models, dataclasses, enums, named tuples) from modules that the application itself has imported::

    SessionSaver(store)                                             # the default
    SessionSaver(store, serde=SafeSerializer(allow=[Profile, "app.state:Answer"]))

A value that could not be read back is refused when it is written, and no value ever changes its
type. `_wire` describes the format.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal, NoReturn, Self, TypeVar

from msgpack import unpackb

from wren_sessions._arguments import check_kind
from wren_sessions.errors import ConfigurationError, SerializationError, WrenSessionsError
from wren_sessions.serializers import _numpy
from wren_sessions.serializers._allowed import Allowed, Allowlist
from wren_sessions.serializers._changed import Rereading, writer
from wren_sessions.serializers._channels import ChannelFunctions, ChannelPlan, Versioned
from wren_sessions.serializers._classes import loaded
from wren_sessions.serializers._deep import Part, lowered_deep
from wren_sessions.serializers._legacy import Objects, read_legacy
from wren_sessions.serializers._legacy_objects import LegacyObjects, stored_ref
from wren_sessions.serializers._models import ModelProfile
from wren_sessions.serializers._plan import Plan
from wren_sessions.serializers._resolve import is_official, load_official
from wren_sessions.serializers._standard import BUILDERS, PATHS, Write, keyed
from wren_sessions.serializers._stored_objects import finding
from wren_sessions.serializers._tree import Raw
from wren_sessions.serializers._value_types import (
    build_sentinel,
    build_subclass,
    core_writer,
    subclass_writer,
)
from wren_sessions.serializers._wire import CHANNEL, KIND, MARK, Build
from wren_sessions.serializers.limits import (
    DEEPEST_READ,
    Limits,
    budget_for,
    current_budget,
    fault_of,
    unhurried,
)
from wren_sessions.serializers.migrations import Migrations
from wren_sessions.serializers.packing import (
    KINDS,
    SCALARS,
    Lower,
    Messages,
    PackedList,
    Packing,
    array_header,
    array_length,
    lowering,
    new_packer,
    pack,
    written,
)
from wren_sessions.serializers.plain import PLAIN_OBJECTS, PlainObject, plain_called, read_simple
from wren_sessions.serializers.unpacking import (
    NOTHING,
    Table,
    Unpacked,
    begins_usual,
    bordered,
    message_builders,
    no_extension,
    read,
    read_lists,
    read_messages,
    usual_builder,
    within_borders,
)

Result = TypeVar("Result")
_KEPT_LIST_BYTES: Final = 8 * 1_048_576  # a packer keeps its buffer: a larger one is not kept
_spare: Final[dict[str, Any]] = {}  # a packer, see `packing`


class SafeSerializer:
    """Turns values into bytes and back; LangGraph's ``SerializerProtocol``.

    These come back equal in value and type: builtin and standard-library values, data types as
    above, numpy arrays, langchain's messages and documents, LangGraph's own types. It also reads
    data from LangGraph's `JsonPlusSerializer`, by the same rules.

    Args:
        allow: the application's classes that may be stored and built, as classes or as names
            ``"module:QualName"``. Official types need no entry. None (default) allows all data
            types of the modules that the process has imported, or none of them if
            ``LANGGRAPH_STRICT_MSGPACK=true`` is set.
        limits: the limits of size; None for the defaults of `Limits`.
        strict: whether to refuse two things that by default are only logged once, as a warning. The
            first is to write objects whose class cannot be found by name (from a function, or from
            pydantic's ``create_model``). Only the process that wrote them can read them, as long as
            it has the class. The second is to read objects with fields that their class no longer
            has. By default these fields are kept aside and written back.
        missing: what to do with stored objects whose class this process does not have: "error"
            (default), or "plain" for a `PlainObject` in their place, which cannot be stored again.
        migrations: how classes have changed since values were stored.

    Raises:
        ConfigurationError: an argument is something else.
    """

    def __init__(
        self,
        *,
        allow: Iterable[Allowed] | None = None,
        limits: Limits | None = None,
        strict: bool = False,
        missing: Literal["error", "plain"] = "error",
        migrations: Migrations | None = None,
    ) -> None:
        if missing not in ("error", "plain"):
            raise ConfigurationError(f"missing= must be 'error' or 'plain', not {missing!r}")
        check_kind(migrations, Migrations, "migrations", "migrations=Migrations()")
        self._migrations = migrations or Migrations()
        self._limits = limits or Limits()
        # So little is neither too deep nor too large, and if there is no envelope in it, one call
        # reads it.
        self._short_bytes = min(DEEPEST_READ, self._limits.sure_bytes)
        self._plain = missing == "plain"
        self._strict = strict
        self._use(Allowlist(allow, strict=strict))

    def _use(self, allowed: Allowlist) -> None:
        # A subclass that packs or reads itself has a format of its own.
        self._packs_lists = type(self).dumps_typed is SafeSerializer.dumps_typed
        self._reads_lists = type(self).loads_typed is SafeSerializer.loads_typed
        self._allowed = allowed
        finder = _Finder(allowed)
        self._lower = lowering(finder.find, allowed.check_keys)
        self._packing = Packing(self._lower)
        self._messages = finder.messages = Messages(self._lower)
        finder.plan = self._plan = Plan(
            self._migrations, lowering(finding(finder.find), allowed.check_keys)
        )
        self.channels: ChannelPlan | None = (
            ChannelPlan(self._migrations) if self._migrations.subgraphs else None
        )
        channels = self.channels or ChannelPlan(self._migrations)
        self._table = _table(allowed, channels.build, plain=self._plain)
        self._again = Rereading(allowed, self._table, self._plan, strict=self._strict)
        self._objects = Objects(
            called=_called(allowed, plain=self._plain),
            array=_numpy.build_array,
            check=allowed.check_keys,
            path=lambda name, parts: PATHS[name](*parts),
        )

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """A value as (type tag, bytes). Equal values give equal bytes, in every process.

        An exception becomes its repr, as LangGraph stores the error of a task; inside another
        value it is refused like everything that cannot be read back.

        Raises:
            SerializationError: the value contains something that cannot be stored, or is too large.
        """
        kind = type(obj)
        if obj is None:
            return "null", b""
        if kind is bytes or kind is bytearray:
            self._limits.check_size(len(obj))
            return kind.__name__, bytes(obj)
        data = pack(obj) if kind in SCALARS else None
        if kind is list and self._messages.begins(obj):
            data = self._messages.packed(obj)
        if data is None:
            value: Any = repr(obj) if isinstance(obj, BaseException) else obj
            return KIND, written(value, self._packing, self._lower, self._deep, self._limits)
        if len(data) > self._limits.free_bytes:
            self._limits.check_written(data)
        return KIND, data

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value from type tag and bytes.

        Args:
            data: type tag and bytes, from this serializer or from `JsonPlusSerializer`.

        Raises:
            UnsafeTypeError: it contains a type that may not be built, or is pickled.
            SerializationError: it is damaged, too large, or of an unknown kind.
        """
        kind, stored = data
        if kind == KIND and len(stored) <= self._short_bytes and stored.find(MARK) < 0:
            budget = current_budget.get()
            if budget is not None:
                budget.build(stored)
            try:
                return unpackb(stored, ext_hook=no_extension, unicode_errors="surrogatepass")
            except Exception:  # noqa: BLE001, S110 -- the general way says what is wrong
                pass
        try:
            if kind == KIND:
                self._limits.check_stored(stored)
                return unhurried(len(stored), self._read, stored)
            self._limits.check_size(len(stored))
            if kind in {"null", "bytes", "bytearray"}:
                return read_simple(kind, stored)
            return read_legacy(kind, stored, self._objects, self._limits)
        except SerializationError as error:
            if self._strict:
                error.deferrable = False
            raise

    def loads_together(self, stored: Sequence[tuple[str, bytes]]) -> dict[int, Any]:
        """The values that can be read together, in two calls, by their index.

        Pending writes are often hundreds of small values: lists of messages, and others. If
        something is wrong with one of either, none of them is read. `loads_typed` then raises the
        error.

        Args:
            stored: type tag and bytes of each.
        """
        found: dict[int, Any] = {}
        lists: dict[int, bytes] = {}
        others: dict[int, bytes] = {}
        for at, (kind, data) in enumerate(stored if self._reads_lists else ()):
            if kind == KIND:
                (lists if begins_usual(data) else others)[at] = data
            elif kind == "null" and not data:
                found[at] = None
        if len(others) > 1:
            found |= zip(others, self._at_once(others.values(), self._read_many), strict=False)
        if len(lists) > 1:
            found |= zip(lists, self.load_lists([*lists.values()]), strict=False)
        return found

    def _read_many(self, whole: bytes) -> list[Any]:
        """Values with borders; none if something is wrong with one of them, or has changed."""
        if self._plan.declares and self._plan.concerns(whole):
            return []
        with suppress(WrenSessionsError, ValueError):
            return within_borders(read(whole, self._table))
        return []

    def carried(self, before: tuple[str, bytes], after: bytes) -> bytes:
        """A new value of a channel with what is kept aside of the one before it.

        Args:
            before: type tag and bytes of the one before.
            after: bytes of the new one.
        """
        if before[0] != KIND:
            return after
        with suppress(WrenSessionsError):
            return self._again.carried(before[1], after)
        return after

    def load_channel(self, data: tuple[str, bytes], functions: ChannelFunctions) -> Any:
        """The value of a channel, brought to the version that its functions lead to.

        Args:
            data: type tag and bytes.
            functions: of the channel.

        Raises:
            SerializationError: a function failed, or what `loads_typed` raises.
        """
        kind, stored = data
        if kind != KIND:
            stored = pack(self._lower(self.loads_typed(data)))
        self._limits.check_stored(stored)
        self._limits.check_depth(stored, DEEPEST_READ)
        try:
            return unhurried(len(stored), partial(self._again.read, stored, functions))
        except SerializationError as error:
            if self._strict:
                error.deferrable = False
            raise

    def _deep(self) -> Lower:
        """What lowers a value where the stack has no room."""
        finder = _Finder(self._allowed)
        finder.plan = self._plan
        lower = lowering(finder.find, self._allowed.check_keys, Part)
        finder.messages = Messages(Part)
        return lambda value: lowered_deep(value, lower, pack)

    def _read(self, stored: bytes) -> Any:
        """The value of data in this package's format, which were checked to be whole."""
        if len(stored) > self._short_bytes:
            self._limits.check_depth(stored, DEEPEST_READ)
        if begins_usual(stored) and (found := read_lists(stored, self._table, many=False)):
            return found[0]
        if self._plan.declares and self._plan.concerns(stored):
            return self._again.read(stored)
        try:
            return read(stored, self._table)
        except SerializationError as error:
            if self._strict or not error.deferrable:
                raise
        return self._again.read(stored)

    def dump_list(
        self,
        value: list[Any],
        look: Callable[[PackedList], Result | None],
        earlier: Unpacked | None = None,
    ) -> Result | None:
        """Let the bytes of a list of messages be looked at where they are packed.

        Stores use it to compare a list with the one before; head and elements together are what
        `dumps_typed` gives.

        Args:
            value: a list.
            look: given the packed list.
            earlier: what `load_list` gave for the list before; None to leave nothing out.

        Returns:
            What `look` returned; None, and nothing was looked at, for any other list, and where a
            subclass has a `dumps_typed` of its own.

        Raises:
            SerializationError: the list is too large.
        """
        if not self._packs_lists or not self._messages.begins(value):
            return None
        unchanged = earlier is not None and earlier.begins(value)
        known = earlier.count if earlier and unchanged else 0
        rest = value[known:]  # another thread may append to it
        packer = _spare.pop("packer", None) or new_packer(autoreset=False)
        if not self._messages.pack(rest, packer):
            return None
        found: Result | None = None
        head = array_header(known + len(rest))
        with memoryview(packer.getbuffer()) as elements:
            size = len(head) + len(elements)
            if size > self._limits.free_bytes:
                self._limits.check_written(array_header(len(rest)) + elements)
            whole = size + (earlier.size_bytes if earlier and unchanged else 0)
            if not unchanged or whole <= self._limits.sure_bytes:
                found = look(PackedList(KIND, head, elements, unchanged))
        packer.reset()
        if size < _KEPT_LIST_BYTES:
            _spare["packer"] = packer
        return found

    def load_list(
        self, kind: str, data: bytes, earlier: Unpacked | None = None
    ) -> tuple[list[Any], Unpacked] | None:
        """A list of messages again, of which some may have been unpacked before.

        Args:
            kind: its type tag.
            data: its bytes, without those of the messages in `earlier`.
            earlier: what an earlier call gave for the list's first messages, or for a longer list
                that begins with this one.

        Returns:
            The list, all of it built anew, and what is to be kept for later calls; None for any
            other value, and where a subclass has a `loads_typed` of its own.
        """
        if kind != KIND or not self._reads_lists:
            return None
        count, header = array_length(data)
        before = earlier or NOTHING
        if before.count > count:
            before = before.first(count)
        fresh = count - before.count
        size = before.size_bytes + len(data)
        if fresh < 0 or not header or size > self._limits.sure_bytes:
            return None
        if not fresh:
            return (unhurried(size, before.build), before) if len(data) == header else None
        data = data if earlier is None else array_header(fresh) + data[header:]
        if fault_of(data) is not None:
            return None
        budget = budget_for(len(data), self._limits.max_memory_bytes)
        budget.build(data)
        found = unhurried(size, read_messages, data, self._table, before)
        if found is None:  # the general way will count it
            budget.undo()
        return found

    def load_lists(self, stored: Sequence[bytes]) -> Iterator[list[Any]]:
        """Several lists of messages again, read as one; none where one of them is something else.

        Args:
            stored: the bytes of each.
        """
        return iter(self._at_once(stored, partial(read_lists, table=self._table, many=True)))

    def _at_once(
        self, stored: Collection[bytes], read: Callable[[bytes], list[Any]]
    ) -> Sequence[Any]:
        """Several values, checked and read as one; none where that cannot be done.

        Args:
            stored: the bytes of each.
            read: reads them, put together with borders.
        """
        whole = bordered(stored)
        if len(whole) > self._limits.sure_bytes or fault_of(whole) is not None:
            return ()
        self._limits.check_depth(whole, DEEPEST_READ + 1)
        budget = budget_for(len(whole), self._limits.max_memory_bytes)
        budget.build(whole)
        found = unhurried(len(whole), read, whole)
        if not found:  # who reads them one by one will count them
            budget.undo()
        return found

    def with_migrations(self, migrations: Migrations) -> Self:
        """A copy of this serializer with other migrations."""
        check_kind(migrations, Migrations, "migrations", "migrations=Migrations()")
        return self._clone(self._allowed, migrations)

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[Allowed]) -> Self:
        """A serializer that allows more classes. Returns itself if it allows them already.

        LangGraph calls it with the types that a graph's schemas name.

        Args:
            extra_allowlist: classes, names, or pairs (module, name).
        """
        allowed = self._allowed.widened(extra_allowlist)
        if allowed is self._allowed:
            return self
        return self._clone(allowed, self._migrations)

    def _clone(self, allowed: Allowlist, migrations: Migrations) -> Self:
        clone = type(self).__new__(type(self))
        clone.__dict__.update(self.__dict__)
        clone.__dict__["_migrations"] = migrations
        clone._use(allowed)  # noqa: SLF001 -- the same class
        return clone


def _refuse_plain(value: PlainObject, **_: object) -> NoReturn:
    raise SerializationError(
        f"a PlainObject stands for a {value.type_name}, whose class this process lacks, and "
        "storing it would lose that value: import the module of the class and read the value "
        "again, or store plain data, such as the object's .value, instead"
    )


_TREES: Final[dict[type, Callable[..., Any]]] = {
    Raw: lambda value, **_: value.tree(),
    Versioned: lambda value, lower: value.lowered(lower),
    PlainObject: _refuse_plain,
}


class _Finder:
    """Finds what writes the objects of a class."""

    def __init__(self, allowed: Allowlist) -> None:
        self._allowed = allowed
        self._known: dict[type, Write] = {}
        self.messages: Messages
        self.plan: Plan

    def find(self, kind: type, lower: Lower) -> Write:
        """What writes objects of a class; raises if they could not be read back."""
        found = self._known.get(kind)
        if found is not None:
            return found
        write = _numpy.writer(kind) or subclass_writer(kind, lower) or core_writer(kind)
        if write is not None:
            return write
        if kind in _TREES:
            return partial(_TREES[kind], lower=lower)
        profile = self._allowed.to_write(kind)
        if isinstance(profile, ModelProfile) and is_official(profile.ref) and profile.ref in KINDS:
            self._known[kind] = self.messages.add(profile)
            return self._known[kind]
        if profile.keeps or self.plan.declares:
            return writer(profile, lower, self.plan)
        return lambda value: [
            lower(part) if type(part) is dict else part for part in profile.write(value)
        ]


def _called(allowed: Allowlist, *, plain: bool) -> Callable[[str, str, Any], Any]:
    """What builds the objects that LangGraph's serializer stored."""
    build = LegacyObjects(allowed).called

    def build_or_show(name: str, form: str, arguments: Any) -> Any:
        if allowed.lacks(stored_ref(name)):
            return plain_called(name, form, arguments)
        return build(name, form, arguments)

    return build_or_show if plain else build


def _table(allowed: Allowlist, channel: Build, *, plain: bool) -> Table:
    def build_object(kind: bytes) -> Build:
        tag = kind[:1]
        has_shape = kind != tag

        def build(items: list[Any]) -> Any:
            if plain and allowed.lacks(items[1]):
                return PLAIN_OBJECTS[tag](items)
            profile = allowed.to_build(items[1])
            if profile.tag != tag:
                profile.changed("was stored when its class was of another kind of data type")
            if has_shape and (profile.shape is None or profile.shape.whole != kind[1:]):
                profile.fit(kind, items[2])
            return profile.build(items)

        return build

    objects = {tag: build_object(tag) for tag in PLAIN_OBJECTS}
    others: dict[bytes, Build] = {
        CHANNEL: channel,
        b"A": lambda items: _numpy.build_array(*items[1:]),
        b"N": _numpy.build_scalar,
        b"g": build_sentinel,
        b"x": build_subclass,
        b"y": _build_pydantic_zone,
    }
    builds = BUILDERS | keyed(allowed.check_keys) | objects | others
    return Table({**builds, **message_builders()}, usual_builder, build_object)


def _build_pydantic_zone(items: list[Any]) -> Any:
    load_official()
    kind = loaded("pydantic_core", "TzInfo")
    if kind is None:
        raise SerializationError(
            "the value holds a time zone of pydantic 2, which is not installed"
        )
    return kind(items[1])
