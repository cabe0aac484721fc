"""numpy's arrays and scalars, where the application has loaded numpy.

Bytes of numbers, times and texts only: an array of objects, or a dtype that refers to memory, is
refused. Nothing is given to numpy before its sizes agree with the bytes that are there.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from math import prod
from typing import Any, Final, NoReturn

from wren_sessions.errors import SerializationError, UnsafeTypeError
from wren_sessions.serializers._wire import marker

_ARRAY, _SCALAR = map(marker, (b"A", b"N"))
_NAME: Final = re.compile(
    r"[<>|=]?(?:[biufcmMSUV]\d{1,10}|[?bBhHiIlLqQefdgFDG])(?:\[\d*[a-zA-Z]+\])?"
)
_USED: Final = frozenset({"bytes_", "dtype", "generic", "ndarray", "object_", "str_", "void"})
_KINDS: Final = frozenset("biufcmMSUV")
_MOST_DIMENSIONS: Final = 64  # what numpy 2 has; numpy 1 refuses more than 32 by itself
_PARTS: Final = (2, 3)  # of a field of a structured dtype: name, dtype, and shape


def write_array(value: Any) -> list[Any]:
    """The envelope of an array."""
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    return [_ARRAY, _described(value.dtype), list(value.shape), order, value.tobytes(order)]


def write_scalar(value: Any) -> list[Any]:
    """The envelope of a scalar; of a text, the text: its bytes would lose what ends it."""
    kind = type(value)
    if value.dtype.kind in "SU":
        return [_SCALAR, value.dtype.kind, (b"" if isinstance(value, bytes) else "").join([value])]
    name = _described(value.dtype)
    if type(name) is str and sys.modules["numpy"].dtype(name).type is not kind:
        name = f"={value.dtype.char}"  # two of C's integers have the same size, and two types
    return [_SCALAR, name, value.tobytes()]


def writer(kind: type) -> Any:
    """What writes values of a class of numpy's; None for any other class."""
    numpy = _loaded()
    if numpy is None:
        return None
    if kind is numpy.ndarray:
        return write_array
    own = kind.__module__ == "numpy" and issubclass(kind, numpy.generic)
    return write_scalar if own and kind is not numpy.object_ else None


def is_plain_array(value: Any) -> bool:
    """Whether a value is an array, and none of objects."""
    numpy = _loaded()
    return numpy is not None and type(value) is numpy.ndarray and not value.dtype.hasobject


def is_scalar(kind: type) -> bool:
    """Whether a class is one of numpy's scalars that can be stored."""
    numpy = _loaded()
    return numpy is not None and kind is not numpy.void and writer(kind) is write_scalar


def build_array(dtype: Any, shape: Any, order: Any, data: Any) -> Any:
    """An array of one's own, that can be written to."""
    numpy = _numpy()
    kind = _dtype(dtype)
    if order not in {"C", "F"} or len(shape) > _MOST_DIMENSIONS:
        _damaged()
    if any(type(size) is not int or size < 0 for size in shape):
        _damaged()
    if prod(shape) * kind.itemsize != len(data):
        _damaged()
    return numpy.ndarray(tuple(shape), kind, bytearray(data), order=order)


def build_scalar(items: list[Any]) -> Any:
    """A scalar of an envelope's items."""
    _, name, data = items
    numpy = _numpy()
    if name == "U":
        return numpy.str_(_of(str, data))
    if name == "S":
        return numpy.bytes_(_of(bytes, data))
    kind = _dtype(name)
    if type(data) is not bytes or len(data) != kind.itemsize:
        _damaged()
    return numpy.ndarray((), kind, bytearray(data))[()]


def _described(dtype: Any) -> Any:
    """A dtype as text; a structured one as a list of its fields."""
    if dtype.hasobject or dtype.kind not in _KINDS:
        raise SerializationError(
            "a numpy array of objects cannot be stored; use a numeric dtype, or a list"
        )
    if dtype.names is None and dtype.subdtype is None:
        if _dtype(dtype.str) != dtype:
            raise SerializationError("a numpy array whose dtype has no plain name is not stored")
        return dtype.str
    void = sys.modules["numpy"].void  # numpy's own class of a structured value
    if dtype.isalignedstruct or dtype.names is None or dtype.type is not void:
        raise SerializationError(
            "a numpy array with an aligned or nested dtype, or of records, cannot be stored"
        )
    kinds = ((name, dtype.fields[name][0]) for name in dtype.names)
    fields = [
        [name, _described(kind)]
        if kind.subdtype is None
        else [name, _described(kind.subdtype[0]), list(kind.subdtype[1])]
        for name, kind in kinds
    ]
    if _dtype(fields) != dtype:
        raise SerializationError("a numpy array whose dtype has gaps or titles cannot be stored")
    return fields


def _dtype(stored: Any) -> Any:
    numpy = _numpy()
    if type(stored) is str and _NAME.fullmatch(stored):
        return numpy.dtype(stored)
    if type(stored) is not list or not all(
        type(part) is list and len(part) in _PARTS for part in stored
    ):
        _damaged()
    fields = [(_of(str, name), _dtype(kind), *map(tuple, shape)) for name, kind, *shape in stored]
    return numpy.dtype(fields)


def _of(kind: type, value: Any) -> Any:
    return value if type(value) is kind else _damaged()


def _loaded() -> Any:
    """The module, if the application has loaded it; waits while another thread is loading it."""
    if "numpy" not in sys.modules:
        return None
    try:
        numpy = import_module("numpy")
    except ImportError:  # that thread's import has failed
        return None
    return numpy if vars(numpy).keys() >= _USED else None


def _numpy() -> Any:
    numpy = _loaded()
    if numpy is None:
        raise UnsafeTypeError(
            "the value holds a numpy array, and stored data imports nothing: import numpy in the "
            "application before it is read"
        )
    return numpy


def _damaged() -> NoReturn:
    raise SerializationError("the stored value is damaged: a numpy array does not fit its dtype")
