"""What LangGraph's `JsonPlusSerializer` stored: msgpack with nested extensions, and JSON.

That serializer stored calls: "import this, call that with these arguments". Here, nothing is
called. `Objects` gets the arguments as data, and builds the object by this package's rules. Values
of the standard library are built in the same way as this package's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final

import msgpack

from wren_sessions.errors import SerializationError, UnsafeTypeError, WrenSessionsError
from wren_sessions.serializers._standard import BUILDERS, PATHS, build_pattern
from wren_sessions.serializers.limits import Budget, Limits, budget_for

_SINGLE, _POSITIONAL, _KEYWORD, _METHOD, _PYDANTIC_1, _PYDANTIC_2, _NUMPY, _DELTA = range(8)
_DELTA_NAME: Final = "langgraph.checkpoint.serde.types:_DeltaSnapshot"
_PATHS: Final = {"Path": "PosixPath"} | {name: name for name in PATHS}
_LC_VERSIONS: Final = (1, 2)
_OF_PARTS: Final = frozenset({"re", "pathlib", "pathlib._local"})
_NESTED: Final = 100  # each level of extensions holds a copy of all below it


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """What becomes of objects.

    Args:
        called: (type name "module:Name", what kind of arguments, the arguments) to a value; the
            kinds are "value", "items", "fields" and "model".
        array: (dtype, shape, order, bytes) to a value.
        check: raises if the keys of a dict or elements of a set may not be hashed.
        path: (class name, parts) to a path.
    """

    called: Callable[[str, str, Any], Any]
    array: Callable[[Any, Any, Any, Any], Any]
    check: Callable[[list[Any]], None]
    path: Callable[[str, list[str]], Any]


def read_legacy(kind: str, data: bytes, objects: Objects, limits: Limits) -> Any:
    """The value that `JsonPlusSerializer` stored with a type tag.

    Raises:
        UnsafeTypeError: it is pickled.
        SerializationError: the tag is unknown, or the data is damaged.
    """
    if kind == "pickle":
        raise UnsafeTypeError(
            "the value is pickled, and unpickling runs what the data says: read it once with the "
            "serializer that wrote it, and write it again"
        )
    reader = {"msgpack": _Reader(objects, limits).read, "json": _Json(objects, limits).read}
    if kind not in reader:
        raise SerializationError(
            f"the value has the type tag {kind!r}, which this serializer does not know; is the "
            "serializer that wrote it missing, such as one that decrypts?"
        )
    try:
        with Budget(len(data), limits.max_memory_bytes):
            return reader[kind](data)
    except WrenSessionsError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever damaged data makes the parsers raise
        raise SerializationError(f"the stored value is damaged ({type(error).__name__})") from None


class _Reader:
    """Reads msgpack as `JsonPlusSerializer` writes it."""

    def __init__(self, objects: Objects, limits: Limits) -> None:
        self._objects = objects
        self._limits = limits
        self._depth = 0
        self._standard = _standard(objects)

    def read(self, data: bytes) -> Any:
        self._limits.check_stored(data)
        return self._unpack(data)

    def _unpack(self, data: bytes) -> Any:
        return msgpack.unpackb(
            data,
            object_pairs_hook=self._dict,
            ext_hook=self._extension,
            strict_map_key=False,
            use_list=True,
            unicode_errors="surrogatepass",
        )

    def _dict(self, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        if all(type(key) is str for key, _ in pairs):
            return dict(pairs)
        found = [(_hashable(key), value) for key, value in pairs]
        self._objects.check([key for key, _ in found])
        return dict(found)

    def _extension(self, code: int, data: bytes) -> Any:
        self._depth += 1
        if self._depth > _NESTED:
            raise SerializationError("the stored value is nested too deep")
        try:
            return self._made(code, data)
        finally:
            self._depth -= 1

    def _made(self, code: int, data: bytes) -> Any:
        self._limits.check_stored(data)
        if code == _DELTA:
            return self._objects.called(_DELTA_NAME, "items", [self._unpack(data)])
        content = self._unpack(data)
        if code == _NUMPY:
            return self._objects.array(*content)
        module, name, arguments = content[:3]
        if type(module) is not str or type(name) is not str:
            raise SerializationError("the stored value is damaged: a type has no name")
        build = self._standard.get((module, name))
        if build is not None:
            return build(arguments)
        forms = {
            _SINGLE: "value",
            _POSITIONAL: "items",
            _KEYWORD: "fields",
            _PYDANTIC_1: "model",
            _PYDANTIC_2: "model",
        }
        if code not in forms:
            raise UnsafeTypeError(f"stored data asks to call a method of {module}.{name}: refused")
        return self._objects.called(f"{module}:{name}", forms[code], arguments)


def _standard(objects: Objects) -> dict[tuple[str, str], Callable[[Any], Any]]:
    """Builders for what is no object of anybody, by module and name."""

    def elements(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def build(items: list[Any]) -> Any:
            found = [_hashable(item) for item in items]
            objects.check(found)
            return kind(found)

        return build

    def plain(kind: bytes) -> Callable[[Any], Any]:
        return lambda value: BUILDERS[kind]([None, value])

    def network(name: str) -> Callable[[Any], Any]:
        return lambda text: BUILDERS[b"I"]([None, name, text])

    def path(name: str) -> Callable[[Any], Any]:
        return lambda parts: objects.path(_PATHS[name], parts)

    addresses = (f"IPv{n}{kind}" for n in (4, 6) for kind in ("Address", "Interface", "Network"))
    return {
        ("builtins", "set"): elements(set),
        ("builtins", "frozenset"): elements(frozenset),
        ("collections", "deque"): lambda items: BUILDERS[b"q"]([None, None, *items]),
        ("decimal", "Decimal"): plain(b"D"),
        ("datetime", "datetime"): datetime.fromisoformat,
        ("datetime", "date"): lambda parts: date(*parts),
        ("datetime", "time"): lambda parts: time(**parts),
        ("datetime", "timedelta"): lambda parts: timedelta(*parts),
        ("datetime", "timezone"): lambda parts: BUILDERS[b"z"](
            [None, parts[0] // timedelta(microseconds=1), *parts[1:]]
        ),
        ("zoneinfo", "ZoneInfo"): plain(b"Z"),
        ("uuid", "UUID"): lambda text: BUILDERS[b"u"]([None, bytes.fromhex(text)]),
        ("re", "compile"): lambda parts: build_pattern(*parts),
        **{("ipaddress", name): network(name) for name in addresses},
        **{
            (module, name): path(name)
            for module in ("pathlib", "pathlib._local")
            for name in _PATHS
        },
    }


def _hashable(value: Any) -> Any:
    """JsonPlus forgets which arrays were tuples; an element of a set was one."""
    return tuple(map(_hashable, value)) if type(value) is list else value


class _Json:
    """Reads LangChain's JSON, as early versions of `JsonPlusSerializer` wrote it."""

    def __init__(self, objects: Objects, limits: Limits) -> None:
        self._objects = objects
        self._limits = limits
        self._standard = _standard_json(objects)

    def read(self, data: bytes) -> Any:
        self._limits.check_size(len(data))
        budget_for(len(data)).build_json(data)
        # Decoded here: `json` would guess at other encodings, and import them.
        return json.loads(str(data, "utf-8", "surrogatepass"), object_hook=self._object)

    def _object(self, found: dict[str, Any]) -> Any:
        if found.get("lc") not in _LC_VERSIONS or found.get("type") != "constructor":
            return found
        *module, name = found["id"]
        arguments, fields = found.get("args") or [], found.get("kwargs") or {}
        build = self._standard.get((".".join(module), name))
        if build is not None:
            return build(arguments, fields)
        kind = f"{'.'.join(module)}:{name}"
        if arguments:
            return self._objects.called(kind, "items", arguments)
        return self._objects.called(kind, "model", fields)


def _standard_json(objects: Objects) -> dict[tuple[str, str], Callable[[Any, Any], Any]]:
    """Builders for what is no object of anybody, from a call's arguments."""

    def of_one(build: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda arguments, _: build(arguments[0])

    def of_all(build: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda arguments, _: build(arguments)

    whole = {("datetime", "date"), ("datetime", "timedelta"), ("datetime", "timezone")}
    found = {
        name: (of_all if name in whole or name[0] in _OF_PARTS else of_one)(build)
        for name, build in _standard(objects).items()
    }
    return found | {
        ("datetime", "time"): lambda arguments, fields: time(*arguments, **fields),
        ("builtins", "bytes"): of_one(bytes.fromhex),
        ("builtins", "bytearray"): of_one(bytearray.fromhex),
    }
