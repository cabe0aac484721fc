"""What is public, with its signatures: ``python tests/public_names.py`` writes it down anew.

Public is what the pages below ``docs/reference/api`` show: a line ``::: wren_sessions.Sessions`` is
a name, ``::: wren_sessions.records`` every name of a module (of its ``__all__``, if it has one).
`PUBLIC` holds all of them, each with its signature and its members, a line each. A change of that
file is a change that users notice.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, get_origin

ROOT = Path(__file__).parents[1]
PUBLIC = Path(__file__).with_suffix(".txt")
SHOWN = re.compile(r"^::: (wren_sessions\.\S+)", re.MULTILINE)
SPECIAL = {"__call__", "__enter__", "__aenter__", "__iter__", "__len__", "__getitem__"}
MISSING = "cannot be imported here"


def documented() -> list[str]:
    """What the pages of the API reference show, names of `wren_sessions` itself first."""
    pages = sorted((ROOT / "docs/reference/api").glob("*.md"))
    shown = {name for page in pages for name in SHOWN.findall(page.read_text("utf-8"))}
    return sorted(shown, key=lambda name: (name.count("."), name))


def names_of(module: ModuleType) -> list[str]:
    """The public names of a module: its ``__all__``, or all it defines without an underscore."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    found = set()
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return sorted(name for name in found if not name.startswith("_") and name != "logger")


def public() -> Iterator[tuple[str, Any]]:
    """Every public name, with what it is; a module that cannot be imported here is `MISSING`."""
    for path in documented():
        try:
            module = import_module(path)
        except ModuleNotFoundError as error:
            home, _, name = path.rpartition(".")
            yield path, getattr(import_module(home), name) if error.name == path else MISSING
        except ImportError:
            yield path, MISSING
        else:
            yield from ((f"{path}.{name}", getattr(module, name)) for name in names_of(module))


# --- one name -------------------------------------------------------------------------------------


def written(annotation: Any) -> str:
    """An annotation as it stands in the source, where modules have postponed theirs."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"ForwardRef\('(.*?)'\)", r"\1", text)


def signature(function: Callable[..., Any]) -> str:
    """Parameters with types and defaults, and what comes back; the same on every Python."""
    known = inspect.signature(function)
    parts: list[str] = []
    kinds = [each.kind.name for each in known.parameters.values()]
    for at, each in enumerate(known.parameters.values()):
        before, kind = (kinds[at - 1] if at else "", kinds[at])
        if before == "POSITIONAL_ONLY" != kind:
            parts.append("/")
        if kind == "KEYWORD_ONLY" and before not in {kind, "VAR_POSITIONAL"}:
            parts.append("*")
        text = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(kind, "") + each.name
        text += "" if each.annotation is each.empty else f": {written(each.annotation)}"
        if each.default is not each.empty:
            text += f" = {re.sub(' at 0x[0-9a-f]+', '', repr(each.default))}"
        parts.append(text)
    given = known.return_annotation
    back = "" if given is known.empty else f" -> {written(given)}"
    return f"({', '.join(parts)}){back}"


def line(name: str, function: Callable[..., Any]) -> str:
    """A function or method, as ``def`` would say it."""
    awaited = "async " if inspect.iscoroutinefunction(function) else ""
    return awaited + name + signature(function)


def attributes(kind: type) -> dict[str, str]:
    """What instances have besides methods, with the types: what the class and its methods set."""
    found: dict[str, str] = {}
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        typed = f": {ast.unparse(node.annotation)}" if isinstance(node, ast.AnnAssign) else ""
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            name = ast.unparse(target)
            if name.startswith("self.") or node in tree.body:
                name = name.removeprefix("self.")
                found[name] = found.get(name) or typed
    return {name: typed for name, typed in found.items() if name.isidentifier()}


def members(kind: type) -> Iterator[str]:
    """What users may use of a class, with what it has from base classes of ours."""
    found: dict[str, str] = {}
    for base in reversed([each for each in kind.__mro__ if each.__module__.startswith("wren_s")]):
        found.update({name: name + typed for name, typed in attributes(base).items()})
        for name, value in vars(base).items():
            value = getattr(value, "func", getattr(value, "__func__", value))  # noqa: PLW2901
            if isinstance(value, property) and value.fget:
                back = inspect.signature(value.fget).return_annotation
                found[name] = f"{name}: {written(back)}"
            elif inspect.isfunction(value):
                found[name] = line(name, value)
    for name, text in sorted(found.items()):
        if name in SPECIAL or not name.startswith(("_", "test_")):
            yield text


def described(path: str, value: Any) -> Iterator[str]:
    """The lines of one public name."""
    if isinstance(value, type) and value.__module__.startswith("wren_sessions"):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        made = "" if Protocol in value.__bases__ else signature(value).partition(" -> ")[0]
        yield f"class {path}{made}" + (f" of {bases}" if bases else "")
        yield from (f"    {member}" for member in members(value))
    elif inspect.isfunction(value):
        yield line(path, value)
    else:
        yield f"{path}: {'alias' if get_origin(value) else type(value).__name__}"


def lines() -> list[str]:
    """All public names as they are now; what cannot be imported here as it was written down."""
    first: dict[int, str] = {}
    found: list[str] = []
    earlier = PUBLIC.read_text("utf-8").splitlines() if PUBLIC.exists() else []
    for path, value in public():
        if value is MISSING:
            found += blocks(earlier, path)
        elif path != first.setdefault(id(value), path):
            found.append(f"{path} = {first[id(value)]}")
        else:
            found += described(path, value)
    return found


def blocks(earlier: list[str], module: str) -> Iterator[str]:
    """The lines of a module's names, with those of their members."""
    inside = False
    for each in earlier:
        inside = (inside and each.startswith("    ")) or f"{module}." in each.partition("(")[0]
        if inside:
            yield each


if __name__ == "__main__":
    PUBLIC.write_text("\n".join(lines()) + "\n", "utf-8")
    sys.stdout.write(f"{PUBLIC} is written. Say in CHANGELOG.md what changes for users.\n")
