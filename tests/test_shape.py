"""The inside keeps its shape: few fragments, no import cycles, one home for the names on Redis."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TypeAlias

import wren_sessions
from wren_sessions import keys
from wren_sessions._invisible import INVISIBLE
from wren_sessions.stores.redis import listing, load, plans
from wren_sessions.stores.redis.errors import MEANINGS, WRONG_TYPE

SOURCE = Path(wren_sessions.__file__).parent
LUA = {path.stem: path.read_text("utf-8") for path in SOURCE.rglob("*.lua")}
MOST_FRAGMENTS = 36  # a bound that is only ever lowered
FRAGMENT_LINES = 4
MOST_LINES = 50  # of a function, without its signature and its docstring
MOST_OF_A_PATTERN = 200  # characters; a longer text is a docstring
HANDS_ON = {"transcripts._data"}  # a transcript's methods hand it to the modules that write it

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> dict[str, ast.Module]:
    """What is in each module, by its dotted name below the package."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name.removesuffix("__init__").removesuffix(".")] = ast.parse(path.read_text("utf-8"))
    return found


MODULES = modules()


# --- fragments ------------------------------------------------------------------------------------


def lines(function: Function) -> int:
    """How many lines a function has without its signature and its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def private_functions(tree: ast.AST) -> Iterator[Function]:
    """The private functions and methods of a module; those that a decorator hands on do not count.

    A function that a table or another function takes as a value cannot be written in its place.
    """
    for node in ast.walk(tree):
        if isinstance(node, Function) and re.match(r"_[^_]", node.name):
            names = {ast.unparse(each) for each in node.decorator_list}
            if names <= {"property", "staticmethod", "classmethod"}:
                yield node


def uses(tree: ast.AST) -> tuple[Counter[str], Counter[str]]:
    """How often each name is used in a module, and how often it is called there."""
    used: Counter[str] = Counter()
    called: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            used[node.id if isinstance(node, ast.Name) else node.attr] += 1
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            called[node.func.id if isinstance(node.func, ast.Name) else node.func.attr] += 1
    return used, called


def fragments(trees: dict[str, ast.Module]) -> list[str]:
    """Private functions of a few lines with one caller, which could stand in that caller."""
    found = []
    imported = {
        alias.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for name, tree in trees.items():
        used, called = uses(tree)
        private = list(private_functions(tree))
        defined = Counter(function.name for function in private)
        for function in private:
            own, _ = uses(ast.Module(body=function.body, type_ignores=[]))
            is_property = any(
                isinstance(each, ast.Name) and each.id == "property"
                for each in function.decorator_list
            )
            calls = used if is_property else called
            if (
                lines(function) <= FRAGMENT_LINES
                and used[function.name] == calls[function.name] == 1
                and defined[function.name] == 1
                and not own[function.name]
                and function.name not in imported
            ):
                found.append(f"{name}.{function.name}")
    return found


def test_few_functions_are_fragments() -> None:
    """A private helper of up to four lines has two callers, or is an idea of its own: few are.

    Where this fails, write the new helper where it is called, unless its name says more than its
    lines do; then take another one out.
    """
    found = fragments(MODULES)
    assert len(found) <= MOST_FRAGMENTS, "\n".join(found)


def test_no_function_is_too_long() -> None:
    """What takes more lines is several ideas."""
    found = {
        f"{name}.{node.name}": lines(node)
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, Function)
    }
    assert {name: count for name, count in found.items() if count > MOST_LINES} == {}


def test_a_fragment_is_found() -> None:
    """One caller and up to four lines make a fragment; a second caller or a value use does not."""
    text = """
def _once(a):
    '''Its docstring does not count.'''
    return a

def _twice(a): return a

def _value(a): return a

def _long(a):
    a += 1
    a += 1
    a += 1
    a += 1
    return a

class Thing:
    @property
    def _part(self): return 1

    def run(self): return self._part

TABLE = {1: _value}
print(_once(1), _twice(1), _twice(2), _long(1))
"""
    assert fragments({"m": ast.parse(text)}) == ["m._once", "m._part"]


# --- imports --------------------------------------------------------------------------------------


def dependencies(name: str, tree: ast.Module, known: set[str]) -> set[str]:
    """The modules that one imports: at the top, in functions and for type checking alike."""
    found = set()
    for node in tree.body if name in HANDS_ON else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner.removeprefix("wren_sessions.") in known else node.module)
    ours = {each.removeprefix("wren_sessions.") for each in found if each.startswith("wren_s")}
    return (ours & known) - {name}


def test_no_module_imports_itself_through_others() -> None:
    """There is no import cycle, not even of imports inside functions or for type checking."""
    known = {name for name in MODULES if name}
    graph = {name: dependencies(name, MODULES[name], known) for name in known}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


# --- one of each ----------------------------------------------------------------------------------


def callers(
    trees: dict[str, ast.Module], names: set[str], *, inside: type = ast.Module
) -> set[str]:
    """The modules that call something of these names, perhaps only inside of some statements."""
    return {
        module
        for module, tree in trees.items()
        for place in ast.walk(tree)
        if isinstance(place, inside)
        for node in ast.walk(place)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name | ast.Attribute)
        and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr) in names
    }


OURS = {name: tree for name, tree in MODULES.items() if not name.startswith("testing")}


def test_records_and_pending_writes_are_decoded_in_one_place() -> None:
    """All other modules ask the codec for what a stored record or its pending writes say."""
    assert callers(OURS, {"decode_record", "_unframe"}) == {"checkpoints.codec"}


def test_pages_are_walked_in_one_place() -> None:
    """No module asks for sessions or records in a loop of its own but `_walks`.

    And the one that looks for damage: it goes on behind a page that cannot be read.
    """
    found = callers(OURS, {"list_sessions", "scan"}, inside=ast.While)
    assert {name for name in found if not name.startswith("stores.")} == {"transfer.checking"}


def test_what_was_used_last_is_kept_in_one_way() -> None:
    """Entries go because of their number in `LRU` alone; the record cache counts bytes besides."""
    assert callers(OURS, {"popitem"}) == {"_blocking", "checkpoints.record_cache"}


def test_invisible_characters_have_one_table() -> None:
    """No other module lists them; keys says which characters of ids are escaped on Redis."""
    invisible = re.compile(f"[{INVISIBLE}]|u20[0-6]")
    holders = {
        name
        for name, tree in OURS.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if invisible.search(node.value) and len(node.value) < MOST_OF_A_PATTERN
    }
    assert holders == {"_invisible", "keys"}


def test_errors_of_a_server_are_told_apart_in_one_table() -> None:
    """No other module looks for what a Redis server or its driver says is wrong."""
    signs = {meaning.sign for meaning in MEANINGS} | {WRONG_TYPE}
    signs -= {"", "SSL"}  # which is a part of names of classes too
    holders = {
        name
        for name, tree in OURS.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in signs
    }
    assert holders == {"stores.redis.errors"}


# --- names on Redis -------------------------------------------------------------------------------


def field_names(text: str) -> set[str]:
    """What Lua code writes of the names of fields: a colon and a word, as ``:head``."""
    code = re.sub(r"--.*", "", text)
    return set(re.findall(r"['\"](:[a-z]+)", code))


def test_scripts_use_the_field_names_of_keys() -> None:
    """No script knows a field that the table of `keys` has not, and each of those is in one."""
    documented = set(re.findall(r"^``(:[a-z]+)", keys.__doc__ or "", re.MULTILINE))
    made = [
        keys.META,
        keys.head_field("x"),
        keys.segment_field(0),
        keys.writes_field("", "x"),
        keys.special_prefix("", "x"),
    ]
    assert {re.findall(r"^:[a-z]+", name)[0] for name in made} <= documented
    assert set().union(*map(field_names, LUA.values())) == documented


def test_scripts_use_the_sizes_of_python() -> None:
    """The format version, the segment's size and the bounds are the same on both sides."""
    common = LUA["_common"]
    assert f"local SEGMENT = {load.SEGMENT_BYTES}\n" in common
    assert f"local MOST = {load.MAX_NAMES} " in common
    assert f"local META = '^{plans.FORMAT} " in common
    assert f"#word > {listing.MAX_DIGITS} " in common
    words = common.partition("local META = ")[2].partition("\n")[0].split(" ")
    assert len(words) == listing.META_WORDS[b"%d" % plans.FORMAT]
