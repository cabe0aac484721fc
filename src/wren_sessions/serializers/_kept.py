"""Fields that a class no longer has, kept aside with their object.

They are written back with it, so that code that still has the fields finds them again. They are
kept as bytes, and nothing is built from them. An object's equality, dump and repr ignore them.

A model has them in its set of fields that were set (`FieldsSet`). Pydantic copies this set with the
model, so ``model_copy``, ``copy`` and ``deepcopy`` keep them. A dataclass has no such set, so a
table keeps them as long as the object lives. ``copy`` and ``deepcopy`` ask `copyreg` for a copy,
which the table then knows as well. A new object from a constructor, which is also what
``dataclasses.replace`` makes, keeps nothing by itself: see `_changed.Rereading.carried`. A named
tuple, or a class with slots without weak references, cannot keep anything. There the field is an
error.
"""

from __future__ import annotations

import copyreg
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple
from weakref import ref as weakref

from wren_sessions.serializers._classes import attribute, listed
from wren_sessions.serializers._models import (
    Model1Profile,
    ModelProfile,
    mask_to_names,
    names_to_mask,
)
from wren_sessions.serializers._profiles import Profile, StateProfile
from wren_sessions.serializers._told import TOLD
from wren_sessions.serializers._tree import Raw

logger = logging.getLogger("wren_sessions")

_MOST_WARNINGS: Final = 1_000  # stored data may name any field: what is remembered is bounded
_MOST_CHARACTERS: Final = 100
_table: dict[int, tuple[weakref[Any], Kept]] = {}
_warned: set[tuple[str, str]] = set()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Kept:
    """The stored parts of an object for which its class has no place.

    Attributes:
        fields: its fields.
        names: those of them that were set.
        extra: what else was set on a model that was open then.
        private: its private attributes.
    """

    fields: Mapping[str, Raw] = field(default_factory=dict)
    names: Collection[str] = ()
    extra: Mapping[str, Raw] = field(default_factory=dict)
    private: Mapping[str, Raw] = field(default_factory=dict)

    def packed(self) -> list[Any]:
        """As plain data."""
        maps = (self.fields, self.extra, self.private)
        return [[*self.names], *({name: raw.data for name, raw in each.items()} for each in maps)]

    def trees(self) -> Kept:
        """The same with trees, for what is a tree itself."""
        maps: Any = (self.fields, self.extra, self.private)
        fields, extra, private = ({n: raw.tree() for n, raw in each.items()} for each in maps)
        return Kept(fields, self.names, extra, private)

    @classmethod
    def unpacked(cls, data: list[Any]) -> Kept:
        """From what `packed` gave."""
        names, *maps = data
        fields, extra, private = ({name: Raw(item) for name, item in each.items()} for each in maps)
        return cls(fields, names, extra, private)


class FieldsSet(set[str]):
    """The names of the fields of a model that were set, and what is kept aside of it."""

    __slots__ = ("kept",)

    def __init__(self, names: Iterable[str], kept: Kept) -> None:
        super().__init__(names)
        self.kept = kept

    def __copy__(self) -> FieldsSet:
        return FieldsSet(self, self.kept)

    copy = __copy__

    def __deepcopy__(self, memo: object) -> FieldsSet:
        return FieldsSet(self, self.kept)

    def __or__(self, other: Iterable[Any]) -> FieldsSet:  # type: ignore[override] # pydantic 1 copies a model with it
        return FieldsSet({*self, *other}, self.kept)

    def __repr__(self) -> str:
        return repr(set(self))

    def __reduce__(self) -> Any:
        return set, (list(self),)  # whoever unpickles a model need not have this package


class Split(NamedTuple):
    """A stored object, without what its class has no place for.

    Attributes:
        items: its envelope's items.
        kept: what was taken out.
    """

    items: list[Any]
    kept: Kept


def split(profile: Profile, items: list[Any]) -> Split | None:
    """Take from an object what its class has no place for; None if there is nothing."""
    if not isinstance(profile, StateProfile | ModelProfile | Model1Profile):
        return None
    fields = items[2]
    unknown = fields.keys() - profile.defaults.keys()
    if isinstance(profile, StateProfile):
        if not unknown:
            return None
        known = {name: item for name, item in fields.items() if name not in unknown}
        return Split([*items[:2], known, *items[3:]], Kept(_raw(fields, unknown)))
    unknown = set() if profile.open else unknown
    rest = [dict(part) if type(part) is dict else part for part in items[4:]]
    at = 1 if isinstance(profile, ModelProfile) else 0  # of the private attributes
    extra = rest[0] if at and rest and not profile.open else None
    private = (rest[at] if len(rest) > at else None) or {}
    odd = private.keys() - set(profile.private_names)
    if not (unknown or extra or odd):
        return None
    names = mask_to_names(items[3], fields)
    known = {name: item for name, item in fields.items() if name not in unknown}
    if extra:
        rest[0] = None
    if odd:
        rest[at] = {name: item for name, item in private.items() if name not in odd}
    kept = Kept(
        _raw(fields, unknown),
        sorted(names & unknown),
        _raw(extra or {}, extra or ()),
        _raw(private, odd),
    )
    return Split([*items[:2], known, names_to_mask(names - unknown, known), *rest], kept)


def _raw(stored: Mapping[str, Any], names: Iterable[str]) -> dict[str, Raw]:
    wanted = set(names)
    return {name: Raw.of(item) for name, item in stored.items() if name in wanted}


def attach(profile: Profile, value: Any, kept: Kept) -> Any:
    """Keep aside what an object was stored with; the object.

    Raises:
        SerializationError: there is no place for it.
    """
    names = [*kept.fields, *kept.extra, *kept.private]
    slot = _slot(profile)
    if slot is not None:
        slot.__set__(value, FieldsSet(slot.__get__(value), kept))
    else:
        try:
            _hold(value, kept)
        except TypeError:
            profile.completed(dict.fromkeys(names), {})
            raise
        if attribute(profile.kind, "__reduce_ex__") is object.__reduce_ex__:
            copyreg.dispatch_table.setdefault(profile.kind, _reduced)
    profile.keeps = True
    TOLD.keeps(profile.name, names)
    _warn_once(profile.name, names)
    return value


def _hold(value: Any, kept: Kept) -> None:
    number = id(value)
    _table[number] = (weakref(value, lambda _: _table.pop(number, None)), kept)


class _Copied:
    """Makes the copy of an object, and keeps aside with it what is kept aside of the object.

    Pickled, it is what makes any object: whoever unpickles one need not have this package.
    """

    def __init__(self, make: Callable[..., Any], kept: Kept) -> None:
        self._make = make
        self._kept = kept

    def __call__(self, *args: Any) -> Any:
        found = self._make(*args)
        _hold(found, self._kept)
        return found

    def __reduce__(self) -> Any:
        return partial, (self._make,)


def _reduced(value: Any) -> tuple[Any, ...]:
    """How an object is copied, as `copyreg` is asked."""
    found: Any = value.__reduce_ex__(2)
    held, kept = _table.get(id(value), (None, None))
    if kept is None or held is None or held() is not value:
        return found  # type: ignore[no-any-return]
    make, *rest = found
    return _Copied(make, kept), *rest


def kept_of(profile: Profile, value: Any) -> Kept | None:
    """What is kept aside of an object."""
    slot = _slot(profile)
    if slot is not None:
        names = slot.__get__(value)
        return names.kept if type(names) is FieldsSet else None
    held, kept = _table.get(id(value), (None, None))
    return kept if held is not None and held() is value else None


def _slot(profile: Profile) -> Any:
    if isinstance(profile, ModelProfile):
        return profile.slots[1]
    return profile.names if isinstance(profile, Model1Profile) else None


def joined(items: list[Any], kept: Kept) -> list[Any]:
    """The items of an object's envelope with what was kept aside."""
    own = items[2]
    again = {name: raw for name, raw in kept.fields.items() if name not in own}
    fields = {**own, **again}
    if len(items) < 4 or type(items[3]) is dict:  # noqa: PLR2004 -- a dataclass: type, fields, others
        return [*items[:2], fields, *items[3:]]
    names = mask_to_names(items[3], own) | {name for name in kept.names if name in again}
    rest = items[4:]
    if kept.extra or kept.private:
        parts = [kept.extra, kept.private] if items[0].data[:1] == b"p" else [kept.private]
        rest += [None] * (len(parts) - len(rest))
        for at, part in enumerate(parts):
            rest[at] = {**part, **(rest[at] or {})} if part else rest[at]
    return [*items[:2], fields, names_to_mask(names, fields), *rest]


def _warn_once(name: str, fields: Iterable[str]) -> None:
    with _lock:
        fresh = [each for each in fields if (name, each) not in _warned]
        if not fresh or len(_warned) >= _MOST_WARNINGS:
            return
        _warned.update((name, each) for each in fresh)
    logger.warning(
        "a %s was stored with %s, which the class does not have: kept aside, and written back with "
        "it. Migrations say what becomes of it; SafeSerializer(strict=True) refuses it",
        name,
        listed(fresh)[:_MOST_CHARACTERS],
    )
