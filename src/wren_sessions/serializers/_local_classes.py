"""Classes that cannot be found by name: in a function, from ``create_model``, in a reloaded module.

The process that writes objects of such a class gives the class a number, which is stored behind its
name. The number leads back to the class as long as the application keeps the class. Here, the class
is only held weakly. In another process the number means nothing, and neither does another class of
the same name.

What is known of the class is kept in an attribute of the class itself, so that it ends with the
class. A profile refers to its class, so a table of profiles would keep every class alive.
"""

from __future__ import annotations

import secrets
import threading
from typing import Any, Final
from weakref import WeakValueDictionary, ref

from wren_sessions._blocking import renew_in_child

_ATTRIBUTE: Final = "__wren_sessions__"
_DICT: Final = type.__dict__["__dict__"].__get__
_NUMBER_BYTES: Final = 8

_classes: WeakValueDictionary[str, type] = WeakValueDictionary()


class _Guard:
    """A lock that its holder may take again: a collection may start, and what it ends may write."""

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Be free in a forked child: it has no thread that holds it."""
        self.lock = threading.RLock()


_guard: Final = _Guard()


class Notes:
    """What is known of one class.

    Attributes:
        mark: what follows its name in stored data; empty until it is needed.
        profile: how its objects are written and built, a `Profile`; None until that is known.
        warned: whether the application has been told that no name leads to the class.
    """

    __slots__ = ("_kind", "mark", "profile", "warned")

    def __init__(self, kind: type) -> None:
        self._kind = ref(kind)
        self.mark = ""
        self.profile: Any = None
        self.warned = False

    def are_of(self, kind: type) -> bool:
        """Whether they are of a class, and have not been copied with another one's attributes."""
        return self._kind() is kind

    def is_first_warning(self) -> bool:
        """Whether this is the first warning about the class: it is given then, and not again."""
        with _guard.lock:
            first, self.warned = not self.warned, True
            return first

    def __reduce__(self) -> tuple[Any, ...]:
        # Whoever sends the class to another process sends none of this along.
        return type(None), ()


def notes_so_far(kind: type) -> Notes | None:
    """What is known of a class; None if nobody has taken notes."""
    found = _DICT(kind).get(_ATTRIBUTE)
    return found if type(found) is Notes and found.are_of(kind) else None


def notes_on(kind: type) -> Notes | None:
    """The same, begun if there are none; None if the class takes no attribute, as builtin ones."""
    with _guard.lock:
        found = notes_so_far(kind)
        if found is None:
            made = Notes(kind)
            try:
                type.__setattr__(kind, _ATTRIBUTE, made)
            except TypeError:
                return None
            found = made
        return found


def numbered(kind: type, name: str) -> str | None:
    """A class's name with its number behind it; None if it can have none.

    Args:
        kind: the class.
        name: how errors are to call it, ``"module:QualName"``.
    """
    notes = notes_on(kind)
    if notes is None:
        return None
    with _guard.lock:
        if not notes.mark:
            notes.mark = f"#{secrets.token_hex(_NUMBER_BYTES)}"
        stored = name + notes.mark
        _classes[stored] = kind
        return stored


def class_of(stored: str) -> type | None:
    """The class of a name with a number, if this process has given it and still has the class."""
    return _classes.get(stored)
