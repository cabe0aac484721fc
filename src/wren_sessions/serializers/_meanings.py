"""Names of annotations that say the same in other words, and the class that a stored name means.

``Optional[int]`` is ``int | None``; ``typing.List`` is ``list``; a validator may have moved to
another line. Version 0.1.0 stored what Python prints of an annotation, and that is read as well.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable
from typing import Any, Final
from weakref import ref

from wren_sessions.serializers._annotations import (
    ALIASES,
    ANNOTATED,
    ANY_NUMBER,
    COLLECTIONS,
    LITERAL,
    NONE,
    PIPE,
    UNION,
    moved,
    state_of,
)
from wren_sessions.serializers._standard import WRITERS

_MOST_KNOWN: Final = 1_024
_known: dict[str, ref[type]] = {}  # what names were found to mean


def closest(name: list[Any], made: Iterable[tuple[type, Any, tuple[Any, ...]]]) -> type | None:
    """The class that a stored name means, if none has the very name.

    If nothing but validators, constraints and the like differ, a class is found only if it is the
    only one.

    Args:
        name: the stored name.
        made: of each parametrization: its class, its name, and its arguments.
    """
    made = list(made)
    if not made:
        return None
    text = str(name)
    known = _known.get(text)
    found = None if known is None else known()
    if found is None or all(kind is not found for kind, _, _ in made):
        found = _closest(name, made)
        if found is not None and len(_known) < _MOST_KNOWN:
            _known[text] = ref(found)
    return found


def _closest(name: list[Any], made: list[tuple[type, Any, tuple[Any, ...]]]) -> type | None:
    printed = list(map(_without_addresses, name[1:]))
    found = [
        kind
        for kind, _, arguments in made
        if printed == [_without_addresses(_printed(argument)) for argument in arguments]
    ]
    if len(found) == 1:
        return found[0]
    for whole in (True, False):
        wanted = meaning(name, whole=whole)
        found = [kind for kind, other, _ in made if meaning(other, whole=whole) == wanted]
        if found and (whole or len(found) == 1):
            return found[0]
    return None


def meaning(name: Any, *, whole: bool) -> Any:
    """What a name means, in whatever words.

    Args:
        name: the name.
        whole: whether what is in ``Annotated`` counts.
    """
    if type(name) is not list:
        return _meaning_of_text(name, whole=whole)
    head, *arguments = name
    if head == LITERAL:
        return [_dotted(head), *map(_constant, arguments)]
    if head == ANNOTATED:
        rest = arguments[1:] if whole else []
        return [_dotted(head), meaning(arguments[0], whole=whole), *map(_dotted, rest)]
    parts = [meaning(argument, whole=whole) for argument in arguments]
    if head in {UNION, PIPE}:
        return _union(parts)
    return [meaning(head, whole=whole), *parts]


def _meaning_of_text(text: Any, *, whole: bool) -> Any:
    if type(text) is not str:
        return text
    if _REF.fullmatch(text) or text in {NONE, ANY_NUMBER}:
        dotted = _dotted(moved(text))
        return _ORIGINS.get(dotted, dotted)
    try:
        return _Printed(text, whole=whole).read()
    except (IndexError, ValueError):
        return text


def _union(parts: list[Any]) -> list[Any]:
    flat = [
        inner
        for part in parts
        for inner in (part[1:] if type(part) is list and part[:1] == ["|"] else [part])
    ]
    return ["|", *sorted({str(part): part for part in flat}.values(), key=str)]


def _constant(name: Any) -> Any:
    """A value of ``Literal``; of an enum's member, what Python prints too."""
    is_name = type(name) is str and re.fullmatch(r"[^\W\d][\w.:]*", name)
    return ".".join(_dotted(name).split(".")[-2:]) if is_name else name


def _dotted(name: Any) -> Any:
    """A name as Python prints it."""
    if type(name) is not str or not _REF.fullmatch(name):
        return list(map(_dotted, name)) if type(name) is list else name
    return name.replace(":", ".").removeprefix("builtins.")


_REF: Final = re.compile(r"[^\W\d][\w.]*:[\w.<>]+")
# typing's names for other classes, as they are printed: typing.List is list.
_ORIGINS: Final = {
    f"typing.{name}": f"{alias.__origin__.__module__}.{alias.__origin__.__qualname__}".removeprefix(
        "builtins."
    )
    for name, alias in vars(typing).items()
    if type(alias).__module__ == "typing" and isinstance(getattr(alias, "__origin__", None), type)
} | {"NoneType": NONE}


# --- what Python prints ---------------------------------------------------------------------------

_PRINTED_LIBRARIES: Final = frozenset(
    {"annotated_types", "pydantic", "pydantic_core", "typing", "types", "builtins"}
)
_PYDANTIC_MODEL: Final = "pydantic._internal._model_construction"
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+>")
_LONGEST_TEXT: Final = 10_000
_DEEPEST_TEXT: Final = 50
_WORD: Final = re.compile(
    r"""\s*([bru]*'(?:[^'\\]|\\.)*'|[bru]*"(?:[^"\\]|\\.)*"|[\w.~+-]+|<[^<>]*(?:<[^<>]*>[^<>]*)*>|.)""",
    re.DOTALL,
)


def _without_addresses(text: Any) -> Any:
    return _ADDRESS.sub(">", text) if type(text) is str else text


def _printed(argument: Any) -> Any:
    """What version 0.1.0 stored of an argument; None if an application's code would print it."""
    if argument is None or argument is types.NoneType:
        return NONE
    if issubclass(type(argument), type):
        return f"{argument.__module__}:{argument.__qualname__}"
    return repr(argument) if _prints(argument, 0) else None


def _prints(value: Any, depth: int) -> bool:
    """Whether nothing but libraries has a part in printing a value."""
    kind = type(value)
    parts: Iterable[Any] = ()
    if issubclass(kind, ALIASES):
        parts = typing.get_args(value)
    elif kind in COLLECTIONS:
        parts = value
    elif kind is dict:
        parts = (*value, *value.values())
    elif issubclass(kind, type):
        return kind.__module__ in {"builtins", "abc", "enum", _PYDANTIC_MODEL}
    elif kind in WRITERS or kind.__module__ in {"builtins", "types", "functools"}:
        return True
    elif kind.__module__.partition(".")[0] in _PRINTED_LIBRARIES:
        parts = state_of(value, kind).values()
    else:
        return False
    return depth < _DEEPEST_TEXT and all(_prints(part, depth + 1) for part in parts)


class _Printed:
    """Reads what Python prints of an annotation, and gives what it means."""

    def __init__(self, text: str, *, whole: bool) -> None:
        if len(text) > _LONGEST_TEXT:
            raise ValueError
        self._words = [*_WORD.findall(text), ""]
        self._whole = whole
        self._at = 0
        self._depth = 0

    def read(self) -> Any:
        found = self._union()
        if self._words[self._at]:
            raise ValueError
        return found

    def _next(self) -> str:
        self._at += 1
        word: str = self._words[self._at - 1]
        return word

    def _union(self) -> Any:
        self._depth += 1
        if self._depth > _DEEPEST_TEXT:
            raise ValueError
        parts = [self._one()]
        while self._words[self._at] == "|":
            self._next()
            parts.append(self._one())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else _union(parts)

    def _one(self) -> Any:
        word = self._next()
        if word == "[":
            return ["list", *self._arguments()]
        if word in {"", "]", ",", "|"}:
            raise ValueError
        enum_member = re.fullmatch(r"<([\w.]+): .*>", word, re.DOTALL)
        name = enum_member[1] if enum_member else word
        name = _ORIGINS.get(name, name).replace("pathlib._local.", "pathlib.")
        if self._words[self._at] != "[":
            return name
        self._next()
        if name == "typing.Annotated":
            return self._annotated()
        arguments = self._arguments()
        if name == "typing.Literal":
            return [name, *map(_constant, arguments)]
        if name == "typing.Optional":
            return _union([*arguments, NONE])
        return _union(arguments) if name == "typing.Union" else [name, *arguments]

    def _arguments(self) -> list[Any]:
        found: list[Any] = []
        while self._words[self._at] != "]":
            found.append(self._union())
            if self._words[self._at] == ",":
                self._next()
            elif self._words[self._at] != "]":
                raise ValueError
        self._next()
        return found

    def _annotated(self) -> Any:
        found = self._union()
        if self._whole:
            raise ValueError  # what was printed of the rest says too little
        depth = 1
        while depth:
            word = self._next()
            if not word:
                raise ValueError
            depth += (word in "([{") - (word in ")]}")
        return ["typing.Annotated", found]
