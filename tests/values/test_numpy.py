"""Arrays of every dtype and form come back as they were, or are refused when they are written."""

from __future__ import annotations

import sys
from datetime import date
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from threading import Event, Thread
from types import ModuleType
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from values.comparing import same
from values.test_round_trips import MODERATE, again
from wren_sessions import PlainSerializer, SafeSerializer
from wren_sessions.errors import SerializationError, UnsafeTypeError

SAFE: Final = SafeSerializer()
plain = (
    npst.scalar_dtypes()
    | npst.byte_string_dtypes(endianness="?")
    | npst.unicode_string_dtypes(endianness=">")
    | npst.integer_dtypes(endianness=">")
    | npst.floating_dtypes(endianness=">")
    | st.sampled_from([np.dtype("g"), np.dtype("G"), np.dtype(">M8[25s]")])
)
dtypes = plain | npst.array_dtypes(plain) | npst.nested_dtypes(plain)
shapes = npst.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=3)


def forms(array: Any) -> list[Any]:
    """An array, and others that share its memory in other orders."""
    found = [array, array.T, np.asfortranarray(array), array[np.newaxis], np.array(array)[...]]
    if array.ndim:
        found += [array[::-1], array[::2], np.broadcast_to(array, (2, *array.shape))]
    return [item for item in found if type(item) is np.ndarray]


@MODERATE
@given(st.data())
def test_arrays_come_back_or_are_refused(data: st.DataObject) -> None:
    """Structured and big-endian ones, of no dimension and of many, in both orders and in none."""
    dtype, shape = data.draw(dtypes), data.draw(shapes)
    fill = npst.from_dtype(dtype) if dtype.names is None else None
    array = data.draw(npst.arrays(dtype, shape, fill=st.nothing() if fill is None else fill))
    for value in forms(array):
        try:
            stored = SAFE.dumps_typed({"a": value})
        except SerializationError:
            assert dtype.names is not None or dtype.subdtype is not None
            continue
        assert same(SAFE.loads_typed(stored), {"a": value})
        PlainSerializer().loads_typed(stored)


@MODERATE
@given(st.data())
def test_scalars_come_back_or_are_refused(data: st.DataObject) -> None:
    """Of every dtype, as elements of arrays give them."""
    value: Any = data.draw(npst.arrays(data.draw(dtypes), ()))[()]
    if issubclass(type(value), np.generic):
        try:
            assert same(again([value]), [value])
        except SerializationError:
            assert value.dtype.names is not None


def test_as_many_dimensions_as_numpy_has() -> None:
    """What can be made can be read."""
    most = 64 if int(np.__version__.split(".")[0]) > 1 else 32
    value = np.zeros((1,) * most, dtype=">i2")
    assert same(again(value), value)


def test_arrays_without_room_come_back() -> None:
    """Of elements that take no bytes, of no elements; and of bytes that mean nothing."""
    for value in (
        np.zeros((3, 0, 2), order="F"),
        np.zeros(3, dtype=[]),
        np.zeros(3, dtype="V0"),
        np.ndarray((2,), "U0"),
        np.array(b""),
        np.frombuffer(b"abcdef", "V3").reshape(1, 2),
    ):
        assert same(again(value), value)


REFUSED: Final[dict[str, Any]] = {
    "objects": np.array([{}, None]),
    "objects in a field": np.zeros(2, dtype=[("a", "O")]),
    "an object": np.array({}),
    "records": np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "records in a plain array": np.rec.array([(1,)], dtype=[("a", "i4")]).view(np.ndarray),
    "a record": np.rec.array([(1,)], dtype=[("a", "i4")])[0],
    "masked": np.ma.masked_array([1], [True]),
    "aligned": np.zeros(1, dtype=np.dtype([("a", "i1"), ("b", "i4")], align=True)),
    "titles": np.zeros(1, dtype=[(("title", "a"), "i4")]),
    "gaps": np.zeros(1, dtype={"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 16}),
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED.keys())
def test_what_would_not_come_back_is_refused(value: Any) -> None:
    """Objects, and forms of arrays and dtypes of which something would be lost."""
    with pytest.raises(SerializationError):
        SAFE.dumps_typed([value])


class HalfLoaded(Loader):
    """numpy as another thread is loading it, until it is let go on."""

    def __init__(self) -> None:
        self.begun, self.may_end = Event(), Event()

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        """Be what finds it."""
        return ModuleSpec(name, self) if name == "numpy" else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python make the module, which is empty at first."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill it, once that is allowed."""
        self.begun.set()
        assert self.may_end.wait(60)
        vars(module).update({name: value for name, value in vars(np).items() if name[0] != "_"})


def waits_for_an_import(thread: Thread) -> bool:
    """Whether a thread waits for another one to load a module."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_filename == "<frozen importlib._bootstrap>"


def test_what_another_thread_is_loading_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value is written, and an array read, by a thread that finds numpy half loaded."""
    stored = SafeSerializer().dumps_typed(np.arange(3))
    half = HalfLoaded()
    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.setattr(sys, "meta_path", [half, *sys.meta_path])
    found: list[object] = []

    def work() -> None:
        fresh = SafeSerializer()  # has met no class yet
        found.append(fresh.loads_typed(fresh.dumps_typed({"at": date(2026, 1, 2)})))
        found.append(fresh.loads_typed(stored).tolist())

    loading, working = Thread(target=import_module, args=["numpy"]), Thread(target=work)
    loading.start()
    half.begun.wait()
    working.start()
    while working.is_alive() and not waits_for_an_import(working):
        pass
    half.may_end.set()
    loading.join()
    working.join()
    assert found == [{"at": date(2026, 1, 2)}, [0, 1, 2]]


def test_a_module_that_is_no_numpy_yet_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this very thread is loading it, or something else has its name, values are stored."""
    monkeypatch.setitem(sys.modules, "numpy", ModuleType("numpy"))
    fresh = SafeSerializer()
    assert fresh.loads_typed(fresh.dumps_typed([date(2026, 1, 2)])) == [date(2026, 1, 2)]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "numpy", np)
        stored = SafeSerializer().dumps_typed(np.arange(3))
    with pytest.raises(UnsafeTypeError, match="import numpy in the application"):
        fresh.loads_typed(stored)
