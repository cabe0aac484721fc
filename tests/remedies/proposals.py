"""What the package's texts propose to do, read from its source, and which tests do it.

A proposal is found by its grammar: a verb such as "pass" or "delete" where an order begins. A test
that does what a text proposes says so with `tries`, and a part of the text. Braces stand for what
the text fills in.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import wren_sessions

Test = TypeVar("Test", bound=Callable[..., Any])

SOURCE: Final = Path(wren_sessions.__file__).parent
TESTS: Final = Path(__file__).parents[1]
_VERBS: Final = (
    "add|allow|await|call|check|choose|close|connect|convert|define|delete|export|free|give|go|"
    "import|install|keep|leave|let|load|look|make|move|name|open|pass|pin|pip|put|raise|read|"
    "rename|replace|restore|resume|rewrite|run|save|say|set|shorten|start|stop|store|take|try|turn|"
    "unpin|unset|upgrade|use|write"
)
_BEFORE: Final = r"(?:^|[:;.,(→]\s+(?:(?:or|and|else|then|but)\s+)*|\b(?:or|else)\s+)"
_PROPOSES: Final = re.compile(rf"{_BEFORE}(?:{_VERBS})\b", re.IGNORECASE)
_NO_ADVICE: Final = frozenset({"Delete {} from {}?"})  # a question
_SHORTEST: Final = 3  # words: what is shorter is a label
_SQL: Final = re.compile(
    r"\s*(?:PRAGMA|SELECT|INSERT|UPDATE|DELETE FROM|CREATE|CHECK|sid INTEGER)\b"
)
_OPTIONS: Final = frozenset({"help", "epilog", "rich_help_panel"})


class Proposal(NamedTuple):
    """A text that proposes something.

    Attributes:
        place: the file and line.
        text: the text, with braces for what is filled in.
    """

    place: str
    text: str


def tries(*parts: str) -> Callable[[Test], Test]:
    """Mark a test that does what texts propose.

    Args:
        parts: a part of each text, as it stands in the source.
    """
    assert all(parts)
    return lambda test: test


def proposals() -> Iterator[Proposal]:
    """All texts of the package that propose something."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name.startswith("testing/"):
            continue  # for those who write tests
        tree = ast.parse(path.read_text("utf-8"))
        left_out = set(_left_out(tree))
        for node in ast.walk(tree):
            text = "" if id(node) in left_out else _text(node)
            if text in _NO_ADVICE or _SQL.match(text):
                continue
            if len(text.split()) >= _SHORTEST and _PROPOSES.search(text):
                yield Proposal(f"{name}:{node.lineno}", text)  # type: ignore[attr-defined] # a text


def tried() -> Iterator[tuple[str, str]]:
    """The parts of texts that tests name, each with the name of the test."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "tries":
                    yield from ((ast.literal_eval(part), node.name) for part in mark.args)


def _left_out(tree: ast.Module) -> Iterator[int]:
    """Docstrings, parts of longer texts, and descriptions of options."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)
        elif isinstance(node, ast.JoinedStr):
            yield from (id(part) for part in ast.walk(node) if part is not node)
        elif isinstance(node, ast.keyword) and node.arg in _OPTIONS:
            yield from map(id, ast.walk(node.value))


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if not isinstance(node, ast.JoinedStr):
        return ""
    parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return "".join(map(str, parts))
