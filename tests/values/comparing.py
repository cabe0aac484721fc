"""Equal in value and type, all the way down: internals too, not ``==`` alone."""

from __future__ import annotations

import dataclasses
import enum
import re
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable
from datetime import datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pydantic.color
import pydantic.v1
from langgraph.store.base import Item
from langgraph.types import Send
from pydantic import BaseModel


def same(left: Any, right: Any) -> bool:
    """Whether two values are the same in every respect that a program can see."""
    if type(left) is not type(right):
        return False
    if isinstance(left, enum.Enum):
        return left is right
    if dataclasses.is_dataclass(left):
        return _dataclasses(left, right)
    for kinds, compare in _WAYS:
        if isinstance(left, kinds):
            return bool(compare(left, right))
    return bool(left == right)


def _all(left: Iterable[Any], right: Iterable[Any]) -> bool:
    pairs = list(left), list(right)
    return len(pairs[0]) == len(pairs[1]) and all(map(same, *pairs))


def _floats(left: Any, right: Any) -> bool:
    return struct.pack("d", left) == struct.pack("d", right)


def _dicts(left: Any, right: Any) -> bool:
    if getattr(left, "default_factory", None) is not getattr(right, "default_factory", None):
        return False
    return _all(left, right) and _all(left.values(), right.values())


def _sets(left: Any, right: Any) -> bool:
    rest = list(right)
    for item in left:
        at = next((at for at, other in enumerate(rest) if same(item, other)), None)
        if at is None:
            return False
        del rest[at]
    return not rest


def _models(left: Any, right: Any) -> bool:
    names = ("__dict__", "__pydantic_extra__", "__pydantic_private__", "__pydantic_fields_set__")
    found = [[getattr(model, name) for name in names] for model in (left, right)]
    for state in found:
        # Fields come back in the order of their class.
        state[0] = {name: state[0][name] for name in sorted(state[0]) if name != "upper"}
    return same(*found)


def _models_1(left: Any, right: Any) -> bool:
    private = [
        {name: getattr(model, name, None) for name in type(left).__private_attributes__}
        for model in (left, right)
    ]
    return (
        same(*private)
        and same(vars(left), vars(right))
        and left.__fields_set__ == right.__fields_set__
    )


def _dataclasses(left: Any, right: Any) -> bool:
    hidden = {"upper", "__orig_class__"}  # what can be made again
    found = [
        {field.name: getattr(value, field.name, None) for field in dataclasses.fields(left)}
        | {name: v for name, v in getattr(value, "__dict__", {}).items() if name not in hidden}
        for value in (left, right)
    ]
    return _dicts(*found)


def _slots(left: Any, right: Any) -> bool:
    names = [name for kind in type(left).__mro__ for name in getattr(kind, "__slots__", ())]
    return all(same(getattr(left, name, None), getattr(right, name, None)) for name in names)


def _arrays(left: Any, right: Any) -> bool:
    return bool(
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.tobytes() == right.tobytes()
        and left.flags.fnc == right.flags.fnc
    )


def _times(left: Any, right: Any) -> bool:
    plain = left.replace(tzinfo=None) == right.replace(tzinfo=None)
    return plain and left.fold == right.fold and same(left.tzinfo, right.tzinfo)


_WAYS: list[tuple[Any, Any]] = [
    ((np.ndarray, np.generic), _arrays),
    (float, _floats),
    (complex, lambda a, b: _floats(a.real, b.real) and _floats(a.imag, b.imag)),
    (Decimal, lambda a, b: a.as_tuple() == b.as_tuple()),
    (Fraction, lambda a, b: a.as_integer_ratio() == b.as_integer_ratio()),
    ((dict, OrderedDict, defaultdict, Counter), _dicts),
    ((list, tuple), _all),
    (deque, lambda a, b: a.maxlen == b.maxlen and _all(a, b)),
    ((set, frozenset), _sets),
    (BaseModel, _models),
    (pydantic.v1.BaseModel, _models_1),
    ((Send, Item), _slots),
    ((datetime, time), _times),
    (slice, lambda a, b: _all((a.start, a.stop, a.step), (b.start, b.stop, b.step))),
    (re.Pattern, lambda a, b: same(a.pattern, b.pattern) and a.flags == b.flags),
    (
        (pydantic.SecretStr, pydantic.SecretBytes, pydantic.Secret, pydantic.v1.types.SecretField),
        lambda a, b: same(a.get_secret_value(), b.get_secret_value()),
    ),
    (pydantic.v1.AnyUrl, lambda a, b: str(a) == str(b) and _slots(a, b)),
    (pydantic.color.RGBA, _slots),
]
