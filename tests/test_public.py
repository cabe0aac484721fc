"""Public names are those of the API reference, and their signatures do not change unnoticed."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator
from importlib import import_module

import pytest

import public_names
from servers import in_ci

ROOT = public_names.ROOT
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CHANGED = """{difference}

Public names or signatures have changed. If you meant it:

    PYTHONPATH=src python tests/public_names.py

and say in CHANGELOG.md what changes for users. Without a release that announces it (a
DeprecationWarning, and a line below "Deprecated"), nothing that 0.1.0 had may go away.
"""


def test_public_names_and_signatures_are_as_written_down() -> None:
    """A name, parameter, default or type that changes is a change of `public_names.txt`."""
    written = public_names.PUBLIC.read_text("utf-8").splitlines()
    now = public_names.lines()
    if written != now:
        lines = difflib.unified_diff(written, now, "written down", "now", lineterm="", n=0)
        pytest.fail(CHANGED.format(difference="\n".join(lines)), pytrace=False)


def test_all_that_is_documented_can_be_imported() -> None:
    """What a page of the API reference shows is there, and every extra is installed in CI."""
    missing = [name for name, value in public_names.public() if value is public_names.MISSING]
    assert not missing or not in_ci(), missing


def test_every_name_that_is_meant_for_users_is_in_the_api_reference() -> None:
    """All names of ``wren_sessions.__all__``, and of each module that the reference shows."""
    public = dict(public_names.public())
    objects = {id(value) for value in public.values()}
    missing = [name for name, value in public.items() if value is public_names.MISSING]
    homes = {name.rpartition(".")[0] for name in public if name not in missing}
    lacking = [
        f"{home}.{name}"
        for home in sorted(homes - {*missing})
        for name in getattr(import_module(home), "__all__", ())
        if id(getattr(import_module(home), name)) not in objects and name != "__version__"
    ]
    assert {"wren_sessions", "wren_sessions.testing"} <= homes
    assert not lacking, "add these to a page below docs/reference/api"


def imported(code: str) -> Iterator[str]:
    """The names of ours that code imports."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wren_sessions"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def examples() -> dict[str, str]:
    """The code that users are shown: blocks of the documentation, and the examples."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    found = {page: "\n".join(BLOCK.findall(page.read_text("utf-8"))) for page in pages}
    found |= {file: file.read_text("utf-8") for file in (ROOT / "examples").rglob("*.py")}
    return {str(file.relative_to(ROOT)): code for file, code in sorted(found.items())}


def test_examples_use_public_names_only() -> None:
    """No page and no example imports what may change in any version."""
    public = {name for name, _ in public_names.public()} | {*public_names.documented()}
    public |= {name.rpartition(".")[0] for name in public}  # modules
    private = {
        f"{where}: {name}"
        for where, code in examples().items()
        for name in imported(code)
        if name not in public and not name.startswith("wren_sessions.adapters.")
    }
    assert not private, "\n".join(sorted(private))
