"""`UnreadableValue`: a stored value that no longer fits the application's classes.

It replaces the value in the state. The rest of the session can be used. Code that uses this value
gets the error from reading it, with the session and channel. If it is passed on or saved unchanged,
exactly the bytes that were read are stored again, so nothing is lost::

    session = sessions.load("ann")
    session.state["turn_count"] += 1     # fine
    session.state["profile"].name        # SerializationError: channel 'profile' of … needs 'city'
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from wren_sessions.errors import SerializationError

_USES: Final = (
    "bool", "call", "contains", "delitem", "enter", "exit", "float", "format", "fspath", "ge",
    "getitem", "gt", "index", "int", "iter", "le", "len", "length_hint", "lt", "next",
    "reversed", "setitem", "str", "aiter", "anext", "await", "bytes", "complex",
    "abs", "add", "and", "divmod", "floordiv", "invert", "lshift", "matmul", "mod", "mul", "neg",
    "or", "pos", "pow", "radd", "rand", "rdivmod", "rfloordiv", "rlshift", "rmatmul", "rmod",
    "rmul", "ror", "round", "rpow", "rrshift", "rshift", "rsub", "rtruediv", "rxor", "sub",
    "truediv", "xor",
)  # fmt: skip


class UnreadableValue:
    """A value that could not be read because the application's classes have changed.

    Using it raises the error. These do not: its repr, which shows the reason; `isinstance`; copying
    it; and comparing it with another one, which is equal if the stored bytes are the same.

    Attributes:
        wren_error: the error.
        wren_stored: type tag and bytes, from the serializer.
    """

    __slots__ = ("__weakref__", "wren_error", "wren_stored")

    wren_error: SerializationError
    wren_stored: tuple[str, bytes]

    def __init__(self, stored: tuple[str, bytes], error: SerializationError) -> None:
        object.__setattr__(self, "wren_error", error)
        object.__setattr__(self, "wren_stored", stored)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by Python and by tools, whatever the object is
            raise AttributeError(name)
        self._raise()

    def __setattr__(self, name: str, value: object) -> None:
        self._raise()

    def __delattr__(self, name: str) -> None:
        self._raise()

    def _raise(self) -> NoReturn:
        error = self.wren_error
        raise type(error)(error.message, deferrable=True, line=error.line)

    def __eq__(self, other: object) -> bool:
        if type(other) is not UnreadableValue:
            self._raise()
        return self.wren_stored == other.wren_stored

    def __hash__(self) -> int:  # noqa: PLE0309 -- it never returns
        self._raise()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return f"<unreadable: {self.wren_error.message}>"

    def __copy__(self) -> UnreadableValue:
        return self

    def __deepcopy__(self, memo: object) -> UnreadableValue:
        return self

    def __reduce__(self) -> Any:
        return UnreadableValue, (self.wren_stored, self.wren_error)


def _used(self: UnreadableValue, *_: object, **__: object) -> NoReturn:
    self._raise()


for _name in _USES:
    setattr(UnreadableValue, f"__{_name}__", _used)
