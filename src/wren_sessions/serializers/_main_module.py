"""``__main__`` and the module that the same file is when it is imported: one module.

The classes of ``python app.py`` or ``python -m pkg.app`` say that they are those of ``__main__``,
which is another module in every program. They are stored under the name by which the file is
imported, with a mark, `_wire.MAIN_MARK`: where a process has loaded the file twice, as ``__main__``
and under its name, there are two classes, and the mark tells which of them was written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any, Final

_MAIN: Final = "__main__"
_NAMES: Final = frozenset({_MAIN, "__mp_main__"})  # the second: in processes of multiprocessing


def is_main(module_name: str) -> bool:
    """Whether it is the name of whichever module runs as the program."""
    return module_name in _NAMES


def import_name(module_name: str) -> str:
    """The name by which a module is imported: that of the program's file for ``__main__``.

    ``__main__`` itself where there is no such name: in a notebook, and in a file such as
    ``my-script.py``.
    """
    if is_main(module_name):
        return (_main_names() or (_MAIN,))[0]
    if module_at(module_name) is None and _is_running(module_name):
        return import_name(_MAIN)
    return module_name


def modules_of(module_name: str, *, marked: bool) -> Iterator[ModuleType]:
    """The loaded modules in which a stored class may be, the likeliest first.

    Args:
        module_name: the module that stored data names.
        marked: whether it was written with `MAIN_MARK`, by the program itself.
    """
    main = module_at(_MAIN)
    if marked and main is not None and _is_running(module_name):
        yield main
    module = module_at(module_name)
    if module is not None:
        yield module
    elif marked and (shorter := _loaded_with_shorter_name(module_name)) is not None:
        yield shorter
    if not marked and main is not None and _is_running(module_name):
        yield main


def module_at(name: str) -> ModuleType | None:
    """A loaded module; None if something else stands in its place."""
    found: Any = sys.modules.get(name)
    return found if issubclass(type(found), ModuleType) else None


def _is_running(module_name: str) -> bool:
    """Whether a module is the one that runs as the program."""
    if is_main(module_name) or module_name in _main_names():
        return True
    main = module_at(_MAIN)
    return main is not None and _is_file_of(module_name, main)


def _loaded_with_shorter_name(name: str) -> ModuleType | None:
    """The module, where the program was ``pkg/app.py`` and this process imports it as ``app``."""
    parts = name.split(".")
    for start in range(1, len(parts)):
        module = module_at(".".join(parts[start:]))
        if module is not None and _is_file_of(name, module):
            return module
    return None


def _is_file_of(module_name: str, module: ModuleType) -> bool:
    """Whether a module's file is where a module of that name would be: ``…/pkg/app.py``."""
    file = _facts(module)[1]
    parts = module_name.split(".")
    return bool(file) and list(PurePath(file).with_suffix("").parts[-len(parts) :]) == parts


def _main_names() -> tuple[str, ...]:
    main = module_at(_MAIN)
    return () if main is None else _names_of(*_facts(main))


def _facts(module: ModuleType) -> tuple[str, str]:
    """The name in a module's spec, and its file; a module's ``__getattr__`` is not asked."""
    names: dict[str, Any] = object.__getattribute__(module, "__dict__")
    spec, file = names.get("__spec__"), names.get("__file__")
    name = spec.name if type(spec) is ModuleSpec else ""
    return name, file if type(file) is str else ""


@lru_cache(maxsize=16)
def _names_of(spec_name: str, file: str) -> tuple[str, ...]:
    """The names by which a program's file can be imported, the longest first."""
    names = {spec_name, _name_in_package(file)} - {"", _MAIN}
    return tuple(sorted(names, key=len, reverse=True))


def _name_in_package(file: str) -> str:
    """The name of a file by the packages that it is in; empty if it cannot be imported."""
    path = Path(file)
    if path.suffix != ".py" or not path.stem.isidentifier():
        return ""
    parts, folder = [path.stem], path.absolute().parent
    while folder.name.isidentifier() and (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)
